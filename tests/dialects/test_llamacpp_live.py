"""The whole dialect against the real llama.cpp: what is promised is what comes back."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from headgate.core.errors import ApiError, InvalidField
from headgate.core.sse import events, payload
from headgate.dialects.call_grammar import CALLS
from headgate.dialects.json_schema_rules import CHOICES, OPTIONAL
from headgate.dialects.llamacpp import LlamaCpp
from tests.dialects.calls import chat_call
from tests.dialects.schemas import OBJECT_SCHEMAS, SCHEMAS, Schema, valid
from tests.engines.running import RunningEngine, running_engine, wait_until
from tests.models.bigram import CHATML, CHATML_TOOLS, split, write_bigram
from tests.models.eyes import png, write_eyes

Json = dict[str, Any]
SLOTS = 4
TEXTS = ["Alpha is one.", "Bravo is two.", "Charlie is three.", "Delta is four."]
TWO_CALLS = (
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "get_time", "arguments": {"zone": 1}}\n</tool_call>'
)
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {
        "type": "object", "properties": {field: {"type": kind}}, "required": [field]}}}
    for name, field, kind in (("get_weather", "city", "string"), ("get_time", "zone", "integer"))
]  # fmt: skip
NAMED = {"type": "function", "function": {"name": "get_time"}}


class Model:
    """An engine behind its dialect."""

    def __init__(self, engine: RunningEngine, dialect: LlamaCpp) -> None:
        self.engine = engine
        self.dialect = dialect

    def raw(self, body: Json) -> bytes:
        """What a client gets; raises the ApiError that it is told."""
        outgoing = self.dialect.request(chat_call(body))
        status, data = self.engine.ask(f"/v1{outgoing.path}", outgoing.body)
        if status != 200:
            raise self.dialect.error(status, [], data)
        translator = outgoing.translator
        if translator is None:
            return data
        if body.get("stream"):
            return b"".join([translator.event(event) for event in events(data)])
        return translator.whole(data)

    def whole(self, **body: Any) -> Json:
        """A whole reply, as the official client reads it."""
        reply: Json = json.loads(self.raw(body))
        ChatCompletion.model_validate(reply)
        return reply

    def chunks(self, **body: Any) -> list[Json]:
        """A stream's chunks, as the official client reads them; usage is in the last one."""
        stream = self.raw({"stream": True, **body})
        *found, done = [payload(event) for event in events(stream) if payload(event) is not None]
        assert done == b"[DONE]"
        chunks: list[Json] = [json.loads(data or b"") for data in found]
        for chunk in chunks:
            ChatCompletionChunk.model_validate(chunk)
        return chunks

    def said(self, **body: Any) -> str:
        return str(self.whole(**body)["choices"][0]["message"]["content"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def talker(folder: Any) -> Iterator[Model]:
    """Says one of four texts."""
    model = write_bigram(folder / "talker.gguf", TEXTS, template=CHATML_TOOLS)
    with running_engine(model, f"--slots={SLOTS}", "--context=4096", "--alias=talker") as engine:
        yield Model(engine, LlamaCpp())


@pytest.fixture(scope="module")
def caller(folder: Any) -> Iterator[Model]:
    """Calls two functions."""
    model = write_bigram(folder / "caller.gguf", TWO_CALLS, template=CHATML_TOOLS)
    with running_engine(model, f"--slots={SLOTS}", "--context=4096") as engine:
        yield Model(engine, LlamaCpp())


@pytest.fixture(scope="module")
def plain_caller(folder: Any) -> Iterator[Model]:
    """Does the same, with a template that knows nothing of tools."""
    model = write_bigram(folder / "plain.gguf", TWO_CALLS, template=CHATML)
    with running_engine(model, f"--slots={SLOTS}", "--context=4096") as engine:
        yield Model(engine, LlamaCpp(tools_in_template=False))


@pytest.fixture(scope="module")
def endless(folder: Any) -> Iterator[Model]:
    """Never stops."""
    model = write_bigram(folder / "endless.gguf", "all work and no play\n", endless=True)
    with running_engine(model, "--slots=2", "--context=8192") as engine:
        yield Model(engine, LlamaCpp())


# --- text -----------------------------------------------------------------------------------------


def text_of(chunks: list[Json], index: int = 0) -> str:
    parts = [part for chunk in chunks for part in chunk["choices"] if part["index"] == index]
    return "".join(part["delta"].get("content") or "" for part in parts)


def tokens_of(text: str) -> int:
    """How many tokens the talker says a text with, its end included."""
    return len(split(TEXTS)[TEXTS.index(text)]) + 1


def test_a_stream(talker: Model) -> None:
    chunks = talker.chunks(seed=5)
    text = text_of(chunks)
    assert text in TEXTS
    assert {chunk["model"] for chunk in chunks} == {"talker"}
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [part["finish_reason"] for chunk in chunks[:-1] for part in chunk["choices"]][-1] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == tokens_of(text)
    # One piece of text for each token: nothing was held back.
    assert len(chunks) == tokens_of(text) - 1 + 3


def test_several_choices_and_what_they_cost(talker: Model) -> None:
    reply = talker.whole(n=SLOTS)
    texts = [choice["message"]["content"] for choice in reply["choices"]]
    assert set(texts) <= set(TEXTS)
    assert [choice["index"] for choice in reply["choices"]] == list(range(SLOTS))
    usage = reply["usage"]
    assert usage["completion_tokens"] == sum(map(tokens_of, texts))
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] == talker.whole()["usage"]["prompt_tokens"]

    chunks = talker.chunks(n=SLOTS)
    texts = [text_of(chunks, index) for index in range(SLOTS)]
    assert set(texts) <= set(TEXTS)
    assert chunks[-1]["usage"]["completion_tokens"] == sum(map(tokens_of, texts))
    assert [chunk for chunk in chunks if chunk.get("usage")] == chunks[-1:]


def test_more_choices_than_slots(talker: Model) -> None:
    with pytest.raises(InvalidField) as caught:
        talker.whole(n=SLOTS + 1)
    assert (caught.value.param, caught.value.code) == ("n", "integer_above_max_value")


def test_a_seed_decides_alone_and_in_a_crowd(talker: Model) -> None:
    seeds = [97, 7_000_003, 2**31 + 11, 2**40, -1]
    alone = {seed: talker.said(seed=seed) for seed in seeds}
    with ThreadPoolExecutor(16) as pool:
        crowd = list(pool.map(lambda seed: (seed, talker.said(seed=seed)), seeds * 6))
    assert all(text == alone[seed] for seed, text in crowd)
    assert len({talker.said(seed=seed) for seed in range(0, 2_000_000, 100_000)}) > 1
    assert talker.said(seen=97) == alone[97]


def test_stop_words_end_it_and_are_not_said(talker: Model) -> None:
    for stop in ("ta is", ["no such", "ta is"]):
        reply = talker.whole(stop=stop, logit_bias=banned("Al", "Br", "Ch"))
        assert reply["choices"][0]["message"]["content"] == "Del"
        assert reply["choices"][0]["finish_reason"] == "stop"
        assert text_of(talker.chunks(stop=stop, logit_bias=banned("Al", "Br", "Ch"))) == "Del"
    assert talker.said(stop="") in TEXTS


def banned(*pieces: str) -> Json:
    """A bias against tokens of the talker's: they follow its bytes and marks, in the order of the texts."""
    order = [piece for chain in split(TEXTS) for piece in chain]
    return {str(256 + 3 + order.index(piece)): -100 for piece in pieces}


def test_a_bias_bans_a_token(talker: Model) -> None:
    for text in TEXTS:
        others = [other[:2] for other in TEXTS if other != text]
        assert talker.said(logit_bias=banned(*others)) == text


@pytest.mark.parametrize("top", [None, 0, 3])
def test_log_probabilities(talker: Model, top: int | None) -> None:
    more = {} if top is None else {"top_logprobs": top}
    (choice,) = talker.whole(logprobs=True, **more)["choices"]
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    # Four texts are equally likely, and then there is no doubt.
    assert tokens[0]["logprob"] == pytest.approx(-1.386, abs=0.01)
    assert tokens[1]["logprob"] == pytest.approx(0, abs=0.01)
    for token in tokens:
        assert token.keys() == {"token", "logprob", "bytes", "top_logprobs"}
        assert bytes(token["bytes"]).decode() == token["token"]
        assert len(token["top_logprobs"]) == (top or 0)
    parts = [part for chunk in talker.chunks(logprobs=True, **more)[:-1] for part in chunk["choices"]]
    spoken = [part for part in parts if part["delta"].get("content")]
    assert spoken
    for part in spoken:
        assert [token["token"] for token in part["logprobs"]["content"]] == [part["delta"]["content"]]
    assert talker.whole()["choices"][0].get("logprobs") is None


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_tokens(talker: Model, field: str) -> None:
    reply = talker.whole(**{field: 2})
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 2
    assert talker.said(**{field: 2**40}) in TEXTS


def test_a_last_message_of_the_assistant_s_is_not_continued(talker: Model) -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Yes?"}]
    assert talker.said(messages=[*messages, messages[1]]) in TEXTS


# --- JSON -----------------------------------------------------------------------------------------


def test_json_mode(talker: Model) -> None:
    assert isinstance(json.loads(talker.said(response_format={"type": "json_object"})), dict)
    assert isinstance(json.loads(text_of(talker.chunks(response_format={"type": "json_object"}))), dict)


def formatted(schema: Any, *, strict: bool = True) -> Json:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": strict}}


# One engine for all examples, and each takes a few milliseconds there.
LIVE = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(schema=SCHEMAS)
@LIVE
def test_a_schema_is_obeyed(talker: Model, schema: Schema) -> None:
    reply = talker.whole(response_format=formatted(schema), max_tokens=2000, temperature=0)
    (choice,) = reply["choices"]
    assert choice["finish_reason"] == "stop"
    assert valid(json.loads(choice["message"]["content"]), schema)


def test_a_recursive_schema_is_obeyed(talker: Model) -> None:
    node: Schema = {"type": "object", "required": ["v", "next"], "additionalProperties": False}
    node["properties"] = {
        "v": {"type": "integer"},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
    }
    schema = {"$ref": "#/$defs/node", "$defs": {"node": node}}
    assert valid(json.loads(talker.said(response_format=formatted(schema), temperature=0)), schema)


BOUNDED = {"type": "integer", "minimum": -(10**14), "maximum": 10**14}


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {f"k{n}": {"type": "string"} for n in range(OPTIONAL)}},
        {"properties": {"e": {"enum": [f"v{n}" for n in range(CHOICES)]}}, "required": ["e"]},
        {"properties": {f"k{n}": BOUNDED for n in range(900)}, "required": [f"k{n}" for n in range(900)]},
        {"items": {"items": {"type": "string", "minLength": 1000}, "minItems": 1000}, "minItems": 1000},
    ],
)
def test_the_largest_schemas_compile(talker: Model, schema: Schema) -> None:
    reply = talker.whole(response_format=formatted(schema), max_tokens=5)
    assert reply["usage"]["completion_tokens"] <= 5


# --- calls ----------------------------------------------------------------------------------------


def calls_of(reply: Json) -> list[tuple[str, Any]]:
    message = reply["choices"][0]["message"]
    return [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls") or []
    ]


BOTH = [("get_weather", {"city": "Paris"}), ("get_time", {"zone": 1})]


def test_auto_calls_and_auto_talks(caller: Model, talker: Model, plain_caller: Model) -> None:
    for model in (caller, plain_caller):
        reply = model.whole(tools=TOOLS)
        assert calls_of(reply) == BOTH
        assert reply["choices"][0]["finish_reason"] == "tool_calls"
        assert reply["choices"][0]["message"]["content"] is None
    reply = talker.whole(tools=TOOLS)
    assert reply["choices"][0]["message"]["content"] in TEXTS
    assert reply["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_one_call_where_parallel_calls_are_off(caller: Model, plain_caller: Model, choice: str) -> None:
    for model in (caller, plain_caller):
        assert calls_of(model.whole(tools=TOOLS, tool_choice=choice, parallel_tool_calls=False)) == BOTH[:1]
        assert calls_of(model.whole(tools=TOOLS, tool_choice=choice, parallel_tool_calls=True)) == BOTH


def test_none_never_calls(caller: Model, plain_caller: Model) -> None:
    for model in (caller, plain_caller):
        reply = model.whole(tools=TOOLS, tool_choice="none")
        assert calls_of(reply) == []
        assert reply["choices"][0]["finish_reason"] == "stop"
        assert not [
            chunk
            for chunk in model.chunks(tools=TOOLS, tool_choice="none")
            if "tool_calls" in json.dumps(chunk)
        ]


@pytest.mark.parametrize("seed", range(5))
def test_required_makes_even_a_talker_call(talker: Model, seed: int) -> None:
    for body in ({"tool_choice": "required"}, {"tool_choice": NAMED}):
        reply = talker.whole(tools=TOOLS, seed=seed, max_tokens=2000, **body)
        calls = calls_of(reply)
        assert 1 <= len(calls) <= CALLS
        assert {name for name, _ in calls} <= (
            {"get_time"} if body["tool_choice"] == NAMED else {"get_time", "get_weather"}
        )
        assert reply["choices"][0]["finish_reason"] == "tool_calls"
        assert reply["choices"][0]["message"]["content"] is None


def test_a_named_function_is_called_once(caller: Model, plain_caller: Model) -> None:
    for model in (caller, plain_caller):
        ((name, arguments),) = calls_of(model.whole(tools=TOOLS, tool_choice=NAMED, temperature=0))
        assert name == "get_time"
        assert isinstance(arguments["zone"], int)


@given(schema=OBJECT_SCHEMAS)
@LIVE
def test_forced_arguments_obey_their_schema(talker: Model, schema: Schema) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
    reply = talker.whole(
        tools=[tool], tool_choice="required", parallel_tool_calls=False, max_tokens=2000, temperature=0
    )
    ((name, arguments),) = calls_of(reply)
    assert name == "f"
    assert valid(arguments, schema)


def test_streamed_calls(caller: Model, plain_caller: Model) -> None:
    for model in (caller, plain_caller):
        for choice in ("auto", "required"):
            deltas = [
                call
                for chunk in model.chunks(tools=TOOLS, tool_choice=choice)
                for part in chunk["choices"]
                for call in part["delta"].get("tool_calls", [])
            ]
            for index, (name, arguments) in enumerate(BOTH):
                first, *rest = [delta for delta in deltas if delta["index"] == index]
                assert (first["function"]["name"], first["type"]) == (name, "function")
                assert first["id"]
                pieces = [first, *rest]
                assert json.loads("".join(delta["function"]["arguments"] for delta in pieces)) == arguments
                assert not [delta for delta in rest if "id" in delta or "name" in delta["function"]]


def test_several_choices_of_calls(caller: Model) -> None:
    for choice in ("auto", "required"):
        reply = caller.whole(tools=TOOLS, tool_choice=choice, n=3)
        assert [len(made["message"]["tool_calls"]) for made in reply["choices"]] == [2, 2, 2]
        ids = [call["id"] for made in reply["choices"] for call in made["message"]["tool_calls"]]
        assert len(set(ids)) == 6


def test_the_old_form(caller: Model, talker: Model) -> None:
    functions = [tool["function"] for tool in TOOLS]
    (choice,) = caller.whole(functions=functions)["choices"]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    assert "tool_calls" not in choice["message"]
    (choice,) = talker.whole(functions=functions, function_call={"name": "get_time"}, temperature=0)[
        "choices"
    ]
    assert choice["message"]["function_call"]["name"] == "get_time"
    (choice,) = caller.whole(functions=functions, function_call="none")["choices"]
    assert choice["finish_reason"] == "stop"
    deltas = [part["delta"] for chunk in caller.chunks(functions=functions) for part in chunk["choices"]]
    told = [delta["function_call"] for delta in deltas if "function_call" in delta]
    assert [piece["name"] for piece in told if "name" in piece] == ["get_weather"]
    assert "".join(piece["arguments"] for piece in told) == '{"city": "Paris"}'


def test_results_of_calls_go_back(caller: Model, plain_caller: Model) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_time", "arguments": '{"zone": 1}'}}
    messages = [
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "12:00"},
    ]
    for model in (caller, plain_caller):
        short = model.whole(messages=messages[:1], tools=TOOLS)["usage"]["prompt_tokens"]
        assert model.whole(messages=messages, tools=TOOLS)["usage"]["prompt_tokens"] > short + len("12:00")


# --- errors and hang-ups --------------------------------------------------------------------------


def test_a_prompt_that_is_too_long(talker: Model) -> None:
    with pytest.raises(InvalidField) as caught:
        talker.whole(messages=[{"role": "user", "content": "hi " * 4000}])
    assert caught.value.code == "context_length_exceeded"


def test_a_template_that_refuses(folder: Any) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('No tools.') }}{% endif %}"
        "{{ m.content }}{% endfor %}"
    )
    with running_engine(write_bigram(folder / "picky.gguf", "Yes.", template=template)) as engine:
        model = Model(engine, LlamaCpp())
        assert model.said() == "Yes."
        with pytest.raises(InvalidField, match=r"does not take these messages: No tools\.") as caught:
            model.whole(messages=[{"role": "tool", "tool_call_id": "a", "content": "b"}])
        assert caught.value.param == "messages"


def test_pictures(folder: Any) -> None:
    model_file = write_bigram(folder / "seer.gguf", "A grey picture.")
    eyes = write_eyes(folder / "eyes.gguf", model_width=32)

    def asking(url: str) -> list[Json]:
        parts = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}]
        return [{"role": "user", "content": parts}]

    with running_engine(model_file, f"--mmproj={eyes}") as engine:
        model = Model(engine, LlamaCpp(images=True))
        blind = model.whole(messages=[{"role": "user", "content": "?"}])["usage"]["prompt_tokens"]
        for size in ((16, 16), (200, 50)):
            reply = model.whole(messages=asking(png(*size)))
            assert reply["choices"][0]["message"]["content"] == "A grey picture."
            assert reply["usage"]["prompt_tokens"] > blind
        for broken in (png()[:-40], "data:image/png;base64,AAAA", "data:image/svg+xml;base64,PHN2Zy8+"):
            with pytest.raises(InvalidField) as caught:
                model.whole(messages=asking(broken))
            assert caught.value.param == "messages"
        assert model.said() == "A grey picture."


def test_hundreds_at_once(talker: Model) -> None:
    """More requests than slots wait their turn."""
    with ThreadPoolExecutor(40) as pool:
        texts = list(pool.map(lambda _: talker.said(), range(200)))
    assert set(texts) == set(TEXTS)
    wait_until(lambda: talker.engine.busy_slots() == 0)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("n", [1, 2])
def test_a_client_that_leaves_frees_the_slots(endless: Model, stream: bool, n: int) -> None:
    outgoing = endless.dialect.request(chat_call({"stream": stream, "n": n}))
    connection = endless.engine.begin(f"/v1{outgoing.path}", outgoing.body)
    if stream:
        reply = connection.getresponse()
        assert reply.read1(10)
        reply.close()
    wait_until(lambda: endless.engine.busy_slots() == n)
    connection.close()
    wait_until(lambda: endless.engine.busy_slots() == 0)


def test_an_engine_that_dies_in_mid_stream(folder: Any) -> None:
    model = write_bigram(folder / "mortal.gguf", "on and on and ", endless=True)
    with running_engine(model, "--context=8192") as engine:
        outgoing = LlamaCpp().request(chat_call({"stream": True}))
        connection = engine.begin(f"/v1{outgoing.path}", outgoing.body)
        reply = connection.getresponse()
        assert reply.read1(10)
        engine.kill()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            reply.read()
        connection.close()


def test_errors_have_all_four_keys(talker: Model) -> None:
    with pytest.raises(ApiError) as caught:
        talker.whole(n=100)
    assert json.loads(caught.value.body())["error"].keys() == {"message", "type", "param", "code"}
