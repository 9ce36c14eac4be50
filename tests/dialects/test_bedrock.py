"""Bedrock's dialect where the cases do not go: refusals, errors, damaged frames, any request."""

from __future__ import annotations

import builtins
import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from headgate.core.cut import WholeBodyNeeded
from headgate.core.endpoint import Endpoint
from headgate.core.errors import ApiError, InvalidField, NotFound, SettingsError, UpstreamFailed
from headgate.core.seeing import PicturesWanted, spots
from headgate.core.sse import DONE, event, events
from headgate.dialects.bedrock import Bedrock
from headgate.dialects.bedrock_frames import FRAME_BYTES, FrameSplitter
from headgate.dialects.bedrock_reply import ReplyPlan
from headgate.dialects.bedrock_stream import Reply
from headgate.dialects.table import make_dialect
from tests.dialects.bedrock_types import accepted, known_reply
from tests.dialects.calls import chat_call
from tests.dialects.conversations import ARGUMENTS, NAMES, WORDS, accumulated, conversations
from tests.dialects.frames import event_frame, frame

Json = dict[str, Any]
USER = {"role": "user", "content": "hi"}
ASKED = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
TOOLS = [{"type": "function", "function": {"name": "f"}}]
PLAN = ReplyPlan("chatcmpl-1", 1, "m")


def sent(body: Json, model: str = "m", **options: Any) -> Json:
    return msgspec.json.decode(Bedrock(**options).request(chat_call(body, model)).body, type=Json)


def refused(body: Json, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        Bedrock(**options).request(chat_call(body))
    assert caught.value.status == 400
    return caught.value


# --- requests -------------------------------------------------------------------------------------


def test_the_description_that_requests_are_held_to_knows_what_is_wrong() -> None:
    accepted("m", ASKED)
    for wrong in (
        {**ASKED, "stream": True},
        {"messages": [{"role": "user", "content": [{"text": "hi", "type": "text"}]}]},
        {"messages": [{"role": "tool", "content": [{"text": "hi"}]}]},
        {**ASKED, "inferenceConfig": {"temperature": 1.5}},
        {**ASKED, "toolConfig": {"tools": []}},
        {**ASKED, "toolConfig": {"tools": [{"toolSpec": {"name": "a b", "inputSchema": {"json": {}}}}]}},
        {"messages": [
            {"role": "user", "content": [{"image": {"format": "bmp", "source": {"bytes": "AA=="}}}]}]},
    ):  # fmt: skip
        with pytest.raises((AssertionError, KeyError)):
            accepted("m", wrong)


@pytest.mark.parametrize(
    "given_",
    [
        {"seed": 1},
        {"logprobs": True},
        {"presence_penalty": 1},
        {"frequency_penalty": -1},
        {"logit_bias": {"1": 5}},
        {"verbosity": "low"},
        {"store": True},
        {"service_tier": "scale"},
        {"web_search_options": {}},
        {"moderation": {"model": "m"}},
        {"audio": {"voice": "v", "format": "mp3"}},
        {"parallel_tool_calls": False, "tools": TOOLS},
    ],
    ids=lambda given_: next(iter(given_)),
)
def test_what_does_not_exist_there_is_refused_or_dropped(given_: Json) -> None:
    name = next(iter(given_))
    error = refused(given_)
    assert (error.param, error.code) == (name, "unsupported_parameter")
    dropping = Bedrock(drop_unsupported=True).request(chat_call(given_))
    assert dropping.dropped == (name,)
    body = msgspec.json.decode(dropping.body, type=Json)
    body.pop("toolConfig", None)
    assert body == ASKED


def test_values_that_change_nothing_are_no_loss() -> None:
    nothing = {
        "n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "logprobs": False,
        "verbosity": "medium", "service_tier": "auto", "modalities": ["text"], "stop": "", "store": False,
        "response_format": {"type": "text"}, "stream": False, "metadata": {}, "tools": [],
        "prediction": None, "x_own": None, "inferenceConfig": None, "guardrailConfig": None,
    }  # fmt: skip
    outgoing = Bedrock().request(chat_call(nothing))
    assert outgoing.dropped == ()
    assert msgspec.json.decode(outgoing.body) == ASKED


def message(**fields: Any) -> Json:
    return {"messages": [USER, {"role": "user", **fields}]}


def picture(url: str) -> Json:
    return message(content=[{"type": "image_url", "image_url": {"url": url}}])


def file(**fields: str) -> Json:
    return message(content=[{"type": "file", "file": fields}])


CALLED = message(role="assistant", tool_calls=[
    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}])  # fmt: skip


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 2}, "n"),
        ({"modalities": ["text", "image"]}, "modalities"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "messages"),
        (message(role="narrator", content="x"), "messages[1].role"),
        (message(role="assistant", thinking_blocks=7), "messages"),
        (picture("http://example.com/a.png"), "messages[1].content[0].image_url.url"),
        (picture("data:image/tiff;base64,AA=="), "messages[1].content[0].image_url.url"),
        (picture("s3://bucket/a.tiff"), "messages[1].content[0].image_url.url"),
        (picture("file:///etc/passwd"), "messages[1].content[0].image_url.url"),
        (file(file_id="file-1"), "messages[1].content[0].file.file_id"),
        (file(file_id="s3://bucket/a"), "messages[1].content[0].file.file_id"),
        (file(file_data="AA=="), "messages[1].content[0].file.file_data"),
        (file(file_data="data:image/png;base64,AA=="), "messages[1].content[0].file.file_data"),
        (message(content=[{"type": "input_audio", "input_audio": {"data": "", "format": "midi"}}]),
         "messages[1].content[0].input_audio.format"),
        (message(role="system", content=[{"type": "file", "file": {"file_data": "JVBERi"}}]),
         "messages[1].content[0].type"),
        (message(role="assistant", tool_calls=[{"id": "a", "type": "function",
                 "function": {"name": "f", "arguments": "[1]"}}]),
         "messages[1].tool_calls[0].function.arguments"),
        (message(role="assistant", tool_calls=[{"id": "a", "type": "custom",
                 "custom": {"name": "f", "input": ""}}]),
         "messages[1].tool_calls[0].type"),
        (message(role="assistant", function_call={"name": "f", "arguments": "{"}),
         "messages[1].function_call.arguments"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"inferenceConfig": 7}, "inferenceConfig"),
        ({"additionalModelRequestFields": []}, "additionalModelRequestFields"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_by_name(body: Json, param: str) -> None:
    for drop in (False, True):
        error = refused(body, drop_unsupported=drop)
        assert isinstance(error, InvalidField)
        assert error.param == param


def test_pictures_elsewhere_are_brought_first() -> None:
    """Converse fetches nothing: the gate does, and asks again; what OpenAI does not know stays as it was."""
    parts = [
        {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    call = chat_call(message(content=parts))
    call.pictures_at_hand, call.abridged = False, True
    with pytest.raises(WholeBodyNeeded):
        Bedrock().request(call)
    call.abridged = False
    with pytest.raises(PicturesWanted):
        Bedrock().request(call)
    for spot in spots(call.request):
        spot.put("data:image/png;base64,AAAA")
    call.pictures_at_hand = True
    sent_ = msgspec.json.decode(Bedrock().request(call).body, type=Json)
    assert sent_["messages"][0]["content"][1:] == [
        {"text": "look"},
        {"cachePoint": {"type": "default"}},
        {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
    ]


def test_a_choice_of_none_beside_earlier_calls_is_not_silently_lost() -> None:
    assert refused({**CALLED, "tools": TOOLS, "tool_choice": "none"}).param == "tool_choice"
    functions = {"functions": [{"name": "f"}], "function_call": "none"}
    assert refused({**CALLED, **functions}).param == "function_call"
    assert "toolConfig" not in sent({"tools": TOOLS, "tool_choice": "none"})


def test_another_endpoint_is_not_served() -> None:
    call = chat_call({})
    call.request = msgspec.defstruct("Other", [])()
    call.endpoint = Endpoint(name="x", method="POST", path="/v1/x", scope="x", summary="x")
    with pytest.raises(NotFound, match="/v1/x"):
        Bedrock().request(call)


def test_a_models_name_leads_nowhere_else() -> None:
    for name, path in {
        "amazon.nova-pro-v1:0": "/model/amazon.nova-pro-v1%3A0/converse",
        "../a b?c#d%é": "/model/..%2Fa%20b%3Fc%23d%25%C3%A9/converse",
    }.items():
        assert Bedrock().request(chat_call({}, name)).path == path
    for name in (".", ".."):
        with pytest.raises(InvalidField):
            Bedrock().request(chat_call({}, name))


def test_a_reply_has_an_id_of_its_own() -> None:
    def made(request_id: str, created_s: int = 1) -> str:
        call = chat_call({})
        call.request_id, call.created_s = request_id, created_s
        translator = Bedrock().request(call).translator
        assert translator is not None
        return str(json.loads(translator.whole(json.dumps(answer([{"text": "x"}])).encode()))["id"])

    assert made("abc") == "chatcmpl-abc"
    assert made("") != made("", 2)


def test_the_table_makes_it() -> None:
    dialect = make_dialect("bedrock", drop_unsupported=True)
    assert isinstance(dialect, Bedrock)
    assert dialect.request(chat_call({"seed": 1})).dropped == ("seed",)
    assert dialect.credentials("k") == ((b"authorization", b"Bearer k"),)


def test_without_botocore_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def missing(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("botocore"):
            raise ImportError(name)
        return found(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SettingsError, match=r"pip install 'headgate\[bedrock\]'"):
        Bedrock()


# --- errors ---------------------------------------------------------------------------------------

ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/ours"


@pytest.mark.parametrize(
    ("status", "kind", "words", "told", "code"),
    [
        (400, "ValidationException", "messages: roles must alternate", 400, None),
        (400, "ValidationException", "Input is too long for requested model.", 400,
         "context_length_exceeded"),
        (400, "ValidationException", "prompt is too long: 205000 tokens > 200000 maximum", 400,
         "context_length_exceeded"),
        (400, "ValidationException", "The provided model identifier is invalid.", 404, "model_not_found"),
        (400, "ValidationException", f"Invocation of {ARN} with on-demand throughput isn't supported.", 502,
         "upstream_error"),
        (400, "ValidationException", f"Unknown profile {ARN}", 400, None),
        (400, "ServiceQuotaExceededException", "Too many requests for 123456789012", 503,
         "upstream_unavailable"),
        (403, "AccessDeniedException", f"User: {ARN} is not authorized to perform: bedrock:InvokeModel", 502,
         "upstream_error"),
        (403, "UnrecognizedClientException", "The security token included in the request is invalid.", 502,
         "upstream_error"),
        (404, "ResourceNotFoundException", "This model version has reached the end of its life.", 404,
         "model_not_found"),
        (404, "UnknownOperationException", "", 502, "upstream_error"),
        (408, "ModelTimeoutException", "Too slow", 504, "upstream_timeout"),
        (424, "ModelErrorException", "The model failed at 10.0.0.7", 502, "upstream_error"),
        (429, "ThrottlingException", "Too many tokens, please wait before trying again.", 429,
         "rate_limit_exceeded"),
        (429, "ModelNotReadyException", "Model is not ready for inference.", 503, "upstream_unavailable"),
        (500, "InternalServerException", "", 502, "upstream_error"),
        (503, "ServiceUnavailableException", "", 503, "upstream_unavailable"),
    ],
)  # fmt: skip
def test_an_error_reply(status: int, kind: str, words: str, told: int, code: str | None) -> None:
    headers = ((b"x-amzn-errortype", f"{kind}:http://internal.amazon.com/x/".encode()),)
    error = Bedrock().error(status, headers, json.dumps({"message": words}).encode())
    assert (error.status, error.code) == (told, code)
    assert "123456789012" not in error.message
    assert "10.0.0.7" not in error.message
    if kind == "ThrottlingException":
        assert error.detail().type == "tokens"


# --- frames ---------------------------------------------------------------------------------------

HELLO = event_frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "hello"}})


@pytest.mark.parametrize(
    "damaged",
    [
        HELLO[:-1] + bytes([HELLO[-1] ^ 1]),
        HELLO[:40] + b"X" + HELLO[41:],
        b"HTTP/1.1 200 OK\r\n\r\n" * 4,
        b"\x00" * 64,
        frame({":event-type": "a", ":message-type": "event"}, b"{}").replace(b"\x07", b"\x63"),
    ],
    ids=["checksum", "payload", "text", "zeros", "header"],
)
def test_damage_is_found(damaged: bytes) -> None:
    splitter = FrameSplitter()
    assert splitter.feed(HELLO).startswith(b'data: {"contentBlockDelta":')
    with pytest.raises(UpstreamFailed):
        splitter.feed(damaged + HELLO)


def test_a_frame_of_any_length_that_botocore_takes_passes_and_no_longer_one() -> None:
    splitter = FrameSplitter()
    large = event_frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x" * 3_000_000}})
    made = b"".join([splitter.feed(large[start : start + 65_536]) for start in range(0, len(large), 65_536)])
    assert len(made) > 3_000_000
    assert not splitter.oversized
    assert splitter.tail == splitter.take_raw() == b""
    endless = frame({":event-type": "a", ":message-type": "event"}, b" " * 23_000_000)
    with pytest.raises(UpstreamFailed):
        splitter.feed(endless[:-1] + b"x" * FRAME_BYTES)


def test_frames_that_say_nothing_to_us_become_nothing() -> None:
    splitter = FrameSplitter()
    for headers in (
        {":message-type": "event"},
        {":event-type": "a"},
        {":message-type": "event", ":event-type": 'a":{}}\n\ndata: {"b'},
        {":message-type": "shiny", ":event-type": "a"},
    ):
        assert splitter.feed(frame(headers, b"{}")) == b""
    pretty = frame({":message-type": "event", ":event-type": "a"}, b'{\r\n "b": 1\n}')
    assert list(events(splitter.feed(pretty))) == [b'data: {"a":{   "b": 1 }}\n\n']
    error = frame({":message-type": "error", ":error-code": "500", ":error-message": "x"}, b"")
    assert Reply(PLAN).event(splitter.feed(error)).startswith(b'data: {"error":')


# --- replies --------------------------------------------------------------------------------------


def answer(blocks: list[Json], stop: str = "end_turn") -> Json:
    usage = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}
    told = {"message": {"role": "assistant", "content": blocks}}
    return {"output": told, "stopReason": stop, "usage": usage, "metrics": {"latencyMs": 1}}


def streamed(*given_: tuple[str, Json]) -> bytes:
    splitter, reply = FrameSplitter(), Reply(PLAN)
    stream = b"".join([event_frame(name, value) for name, value in given_])
    made = [reply.event(event) for event in events(splitter.feed(stream))]
    return b"".join([*made, reply.end()])


def test_no_answer_is_an_error() -> None:
    for stop in ("malformed_model_output", "malformed_tool_use"):
        with pytest.raises(UpstreamFailed):
            Reply(PLAN).whole(json.dumps(answer([], stop)).encode())
        assert b'"error"' in streamed(("messageStop", {"stopReason": stop}))
    for body in (b"{}", b"[]", b"no", b'{"output":{}}'):
        with pytest.raises(msgspec.DecodeError):
            Reply(PLAN).whole(body)


def test_events_that_mean_nothing_become_nothing() -> None:
    reply = Reply(PLAN)
    for odd in (b"", b"hello", b"[]", b"{", b'{"metadata":7}', b"\xff", b"[" * 100_000, b"{}"):
        assert reply.event(event(odd)) == b""
    assert reply.event(b": comment\n\n") == b""
    assert reply.end() == b""


def test_a_stream_without_metadata_ends_all_the_same() -> None:
    made = streamed(
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "a"}}),
        ("messageStop", {"stopReason": "end_turn"}),
    )
    assert made.endswith(DONE)
    assert accumulated(made)["content"] == "a"
    assert b'"usage"' not in made


# --- what holds of any ----------------------------------------------------------------------------


@st.composite
def answers(draw: st.DrawFn) -> list[Json]:
    """The blocks of a model's answer: thoughts, words, calls."""
    blocks: list[Json] = [
        {"reasoningContent": {"reasoningText": {"text": text, "signature": "c2ln"}}}
        for text in draw(st.lists(WORDS, max_size=2))
    ]
    blocks += [{"text": text} for text in draw(st.lists(WORDS, max_size=3))]
    blocks += [
        {"toolUse": {"toolUseId": f"c{place}", "name": name, "input": draw(ARGUMENTS)}}
        for place, name in enumerate(draw(st.lists(NAMES, max_size=3)))
    ]
    return blocks


def in_events(blocks: list[Json], cut: int) -> list[tuple[str, Json]]:
    """The same blocks as a stream tells them, every text cut in two."""
    told: list[tuple[str, Json]] = [("messageStart", {"role": "assistant"})]

    def piece(index: int, delta: Json) -> None:
        told.append(("contentBlockDelta", {"contentBlockIndex": index, "delta": delta}))

    for index, block in enumerate(blocks):
        if "toolUse" in block:
            used = {name: block["toolUse"][name] for name in ("toolUseId", "name")}
            told.append(("contentBlockStart", {"contentBlockIndex": index, "start": {"toolUse": used}}))
            text = json.dumps(block["toolUse"]["input"], separators=(",", ":"))
            for part in (text[:cut], text[cut:]):
                piece(index, {"toolUse": {"input": part}})
        elif "text" in block:
            for part in (block["text"][:cut], block["text"][cut:]):
                piece(index, {"text": part})
        else:
            thought = block["reasoningContent"]["reasoningText"]
            for part in (thought["text"][:cut], thought["text"][cut:]):
                piece(index, {"reasoningContent": {"text": part}})
            piece(index, {"reasoningContent": {"signature": thought["signature"]}})
        told.append(("contentBlockStop", {"contentBlockIndex": index}))
    usage = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}
    return [*told, ("messageStop", {"stopReason": "end_turn"}), ("metadata", {"usage": usage})]


@given(answers(), st.integers(0, 8))
def test_an_answer_comes_back_as_it_went(blocks: list[Json], cut: int) -> None:
    """Whole and streamed are the same message; sent back as history, it is the same turn."""
    body = answer(blocks)
    known_reply(body)
    completion = json.loads(Reply(PLAN).whole(json.dumps(body).encode()))
    ChatCompletion.model_validate(completion, strict=True)
    whole = completion["choices"][0]["message"]

    made = accumulated(streamed(*in_events(blocks, cut)))
    assert made["content"] == (whole["content"] or "")
    assert made["reasoning_content"] == whole.get("reasoning_content", "")
    assert made["tool_calls"] == whole.get("tool_calls", [])

    messages = sent({"messages": [USER, whole]})["messages"]
    accepted("m", {"messages": messages})
    back = messages[1]["content"] if len(messages) > 1 else []
    assert "".join(b.get("text", "") for b in back) == "".join(b.get("text", "") for b in blocks)
    assert [b for b in back if "text" not in b] == [b for b in blocks if "text" not in b]


SAME = {"temperature": "temperature", "top_p": "topP", "max_tokens": "maxTokens", "stop": "stopSequences"}


@st.composite
def requests(draw: st.DrawFn) -> Json:
    body: Json = {"messages": draw(conversations())}
    for name, values in {
        "temperature": st.floats(0, 1), "top_p": st.floats(0, 1), "max_tokens": st.integers(1, 10**6),
        "stop": st.lists(WORDS, min_size=1, max_size=4),
    }.items():  # fmt: skip
        if draw(st.booleans()):
            body[name] = draw(values)
    return body


@given(requests())
def test_every_field_that_both_formats_have_is_kept(body: Json) -> None:
    made = sent(body)
    accepted("m", made)
    config = made.get("inferenceConfig", {})
    assert {ours: config[theirs] for ours, theirs in SAME.items() if theirs in config} == {
        name: value for name, value in body.items() if name in SAME
    }
    roles = [turn["role"] for turn in made["messages"]]
    assert all(one != other for one, other in pairwise(roles))
    blocks = [block for turn in made["messages"] for block in turn["content"]]
    told = body["messages"]
    system = [block["text"] for block in made.get("system", ())]
    assert system == [m["content"] for m in told if m["role"] in ("system", "developer")]
    words = [block["text"] for block in blocks if "text" in block]
    assert sorted(words) == sorted(
        m["content"] for m in told if m["role"] in ("user", "assistant") and m["content"]
    )
    calls = [call for m in told for call in m.get("tool_calls", ())]
    assert [block["toolUse"] for block in blocks if "toolUse" in block] == [
        {"toolUseId": c["id"], "name": c["function"]["name"], "input": json.loads(c["function"]["arguments"])}
        for c in calls
    ]
    results = [block["toolResult"] for block in blocks if "toolResult" in block]
    assert [(r["toolUseId"], r["content"][0]["text"]) for r in results] == [
        (m["tool_call_id"], m["content"]) for m in told if m["role"] == "tool"
    ]
    named = {tool["toolSpec"]["name"] for tool in made.get("toolConfig", {}).get("tools", ())}
    assert named == {call["function"]["name"] for call in calls}
