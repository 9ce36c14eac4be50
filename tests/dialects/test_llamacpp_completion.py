"""Legacy completions: what llama.cpp is asked, what is made of its answer, and both against a real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.core.body import open_body
from headgate.core.completion import CompletionRequest
from headgate.core.errors import InvalidField, UpstreamFailed
from headgate.core.ports import Call, Outgoing
from headgate.core.sse import events, payload
from headgate.dialects.llamacpp import LlamaCpp
from headgate.dialects.llamacpp_completion import MOST_CHOICES, Beginnings
from headgate.endpoints import COMPLETIONS
from tests.engines.running import RunningEngine, running_engine

STARTER = Path(__file__).parents[2] / "packages/headgate-starter/src/headgate_starter/starter-chat.gguf"
KNOWN = Beginnings(document=7, gap=(1, 2, 3))


def written(beginnings: Beginnings = KNOWN, **body: Any) -> Outgoing:
    request, fields = open_body(json.dumps({"model": "m", **body}).encode(), CompletionRequest)
    call = Call(COMPLETIONS, request, fields, bool(request.stream), False, "engine")
    return LlamaCpp(beginnings=beginnings).request(call)


def sent(**body: Any) -> dict[str, Any]:
    return dict(json.loads(written(**body).body))


def token(text: str, logprob: float = -1.0, *others: tuple[str, float]) -> dict[str, Any]:
    alternatives = [{"token": name, "logprob": value, "bytes": list(name.encode())} for name, value in others]
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": alternatives}


def part(index: int, text: str, finish: str | None = None, *tokens: dict[str, Any], **more: Any) -> bytes:
    choice = {
        "index": index,
        "text": text,
        "finish_reason": finish,
        "logprobs": {"content": list(tokens)} if tokens else None,
    }
    shared = {"id": "chatcmpl-x", "created": 5, "model": "engine", "object": "text_completion", "secret": 1}
    return b"data: " + json.dumps({"choices": [choice], **shared, **more}).encode() + b"\n\n"


def used(prompt: int, completion: int) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 0}}


def whole(outgoing: Outgoing, *chunks: bytes) -> dict[str, Any]:
    assert outgoing.translator is not None
    return dict(json.loads(outgoing.translator.whole(b"".join([*chunks, b"data: [DONE]\n\n"]))))


def streamed(outgoing: Outgoing, *chunks: bytes) -> list[dict[str, Any]]:
    assert outgoing.translator is not None
    out = b"".join(map(outgoing.translator.event, [*chunks, b"data: [DONE]\n\n"]))
    *told, done = [payload(event) or b"" for event in events(out)]
    assert done == b"[DONE]"
    return [json.loads(one) for one in told]


# --- the request ----------------------------------------------------------------------------------


def test_only_what_is_known_goes_on() -> None:
    body = sent(
        prompt="a", temperature=0.5, grammar="root ::= x", id_slot=3, user="u", top_k=5, stop=["", "x"]
    )
    assert body == {
        "temperature": 0.5, "model": "engine", "top_k": 5, "max_tokens": 16, "stop": ["x"], "prompt": ["a"],
    }  # fmt: skip


def test_several_answers_are_several_prompts_unless_a_seed_ties_them() -> None:
    body = sent(prompt=[[2], [1]], n=2)
    assert (body["prompt"], body["stream"]) == ([[2], [2], [1], [1]], True)
    assert "n" not in body
    body = sent(prompt=["a", "b"], n=2, seed=-1)
    assert (body["prompt"], body["n"], body["seed"]) == (["a", "b"], 2, 2**32 - 2)


def test_an_empty_prompt_begins_a_document() -> None:
    assert sent()["prompt"] == [[7]]
    with pytest.raises(InvalidField) as refused:
        written(Beginnings(), prompt="")
    assert refused.value.param == "prompt"


def test_a_gap_is_filled_in_where_the_model_can() -> None:
    assert sent(prompt="a", suffix="b")["prompt"] == [[1, "a", 2, "b", 3]]
    assert sent(prompt=[8, 9], suffix="b")["prompt"] == [[1, 8, 9, 2, "b", 3]]
    with pytest.raises(InvalidField) as refused:
        written(Beginnings(), prompt="a", suffix="b")
    assert (refused.value.param, refused.value.code) == ("suffix", "unsupported_parameter")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": "a", "echo": True, "logprobs": 1}, "logprobs"),
        ({"prompt": [1], "echo": True, "stream": True}, "echo"),
        ({"prompt": ["a"] * (MOST_CHOICES + 1)}, "prompt"),
        ({"prompt": ["a"] * 10, "n": 100}, "n"),
        ({"prompt": ["a"] * 50, "best_of": 20}, "best_of"),
        ({"prompt": "a", "top_k": -1}, "top_k"),
    ],
)
def test_what_it_cannot_do_is_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidField) as refused:
        written(**body)
    assert refused.value.param == param


# --- the reply ------------------------------------------------------------------------------------


def test_usage_counts_every_answer_and_each_prompt_once() -> None:
    reply = whole(
        written(prompt=["a", "b"], n=2),
        part(1, "B"), b"data: null\n\n", part(0, "A", "stop", **used(3, 1)),
        part(1, "!", "length", **used(3, 2)),
        part(2, "C", "stop", **used(4, 5)), part(3, "D", "stop", **used(4, 7)),
    )  # fmt: skip
    assert reply["usage"] == {"prompt_tokens": 7, "completion_tokens": 15, "total_tokens": 22}
    assert [(one["index"], one["text"], one["finish_reason"]) for one in reply["choices"]] == [
        (0, "A", "stop"), (1, "B!", "length"), (2, "C", "stop"), (3, "D", "stop"),
    ]  # fmt: skip
    assert (reply["id"], reply["object"], reply["model"]) == ("cmpl-x", "text_completion", "engine")
    assert "secret" not in reply


def test_the_best_ones_are_told() -> None:
    reply = whole(
        written(prompt=["a", "b"], best_of=3, n=2),
        part(0, "bad", "stop", token("bad", -9), **used(1, 1)),
        part(1, "good", "stop", token("good", -1), **used(1, 1)),
        part(2, "long good", "stop", token("long", -2), token("good", -2), **used(1, 2)),
        part(3, "", "stop", **used(1, 0)),
        part(4, "x", "stop", token("x", -5), **used(1, 1)),
        part(5, "y", "stop", token("y", -4), **used(1, 1)),
    )
    assert [(one["index"], one["text"]) for one in reply["choices"]] == [
        (0, "good"), (1, "long good"), (2, "y"), (3, "x"),
    ]  # fmt: skip
    assert all(one["logprobs"] is None for one in reply["choices"]), "nobody asked for them"
    assert reply["usage"]["completion_tokens"] == 6


def test_log_probabilities_have_the_legacy_shape() -> None:
    tokens = [
        token("你", -1, ("我", -0.5), ("你", -1)),
        token("ab", -2, ("x", -1)),
        {**token("�"), "bytes": [0xE9]},
    ]
    (choice,) = whole(written(prompt="a", logprobs=1), part(0, "你ab", "stop", *tokens))["choices"]
    assert choice["logprobs"] == {
        "tokens": ["你", "ab", "bytes:\\xe9"],
        "token_logprobs": [-1, -2, -1],
        "top_logprobs": [{"我": -0.5, "你": -1}, {"x": -1, "ab": -2}, {"bytes:\\xe9": -1}],
        "text_offset": [0, 1, 3],
    }
    (choice,) = whole(written(prompt="a", logprobs=0), part(0, "你ab", "stop", *tokens))["choices"]
    assert choice["logprobs"]["top_logprobs"] is None


def test_offsets_go_on_through_a_stream() -> None:
    told = streamed(
        written(prompt="a", logprobs=1, stream=True),
        part(0, "ab", None, token("ab")), part(0, "c", None, token("c")), part(0, "", "stop", **used(1, 2)),
    )  # fmt: skip
    logprobs = [one["choices"][0]["logprobs"] for one in told[:3]]
    assert [found and found["text_offset"] for found in logprobs] == [[0], [2], None]
    assert told[3]["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert told[3]["choices"] == []


def test_the_prompt_comes_back_once() -> None:
    told = streamed(
        written(prompt=["a", "b"], echo=True, stream=True), part(1, "B"), part(0, "A"), part(1, "!")
    )
    assert [(one["choices"][0]["index"], one["choices"][0]["text"]) for one in told] == [
        (1, "bB"),
        (0, "aA"),
        (1, "!"),
    ]
    outgoing = written(prompt=[[1], [2]], echo=True)
    assert json.loads(outgoing.body)["verbose"] is True
    told_verbose = {"__verbose": {"prompt": "one", "generation_settings": {}}}
    reply = whole(
        outgoing,
        part(1, "B", "stop", __verbose={"prompt": "two"}),
        part(0, "A", "stop", **told_verbose),
    )
    assert [one["text"] for one in reply["choices"]] == ["oneA", "twoB"]
    assert "verbose" not in json.dumps(reply)


def test_nothing_is_written_where_nothing_is_wanted() -> None:
    reply = whole(written(prompt="a", max_tokens=0, echo=True), part(0, "x", "stop", **used(1, 1)))
    assert reply["choices"] == [{"text": "a", "index": 0, "logprobs": None, "finish_reason": "length"}]
    assert reply["usage"] == {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}


def test_a_stream_that_breaks_off_is_no_reply() -> None:
    outgoing = written(prompt="a", n=2)
    assert outgoing.translator is not None
    with pytest.raises(UpstreamFailed):
        outgoing.translator.whole(part(0, "x"))
    with pytest.raises(UpstreamFailed):
        outgoing.translator.whole(b'data: {"error":{"message":"x"}}\n\n')


# --- a real one -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> Iterator[RunningEngine]:
    with running_engine(STARTER) as running:
        yield running


def asked(engine: RunningEngine, **body: Any) -> dict[str, Any]:
    outgoing = written(Beginnings(document=257), **body)
    status, data = engine.ask(f"/v1{outgoing.path}", outgoing.body)
    assert status == 200, data
    assert outgoing.translator is not None
    return dict(json.loads(outgoing.translator.whole(data)))


def test_tokens_are_echoed_as_the_text_they_are(engine: RunningEngine) -> None:
    (choice,) = asked(engine, prompt=[72, 101, 108], echo=True, max_tokens=0)["choices"]
    assert choice["text"] == "Hel"


def test_one_prompt_and_several_answers(engine: RunningEngine) -> None:
    reply = asked(engine, prompt="Hello", n=6, max_tokens=3, logprobs=5)
    assert [one["index"] for one in reply["choices"]] == list(range(6))
    assert reply["usage"] == {"prompt_tokens": 1, "completion_tokens": 18, "total_tokens": 19}
    for one in reply["choices"]:
        assert "".join(one["logprobs"]["tokens"]) == one["text"]
        tokens = one["logprobs"]["tokens"]
        assert one["logprobs"]["text_offset"] == [len("".join(tokens[:place])) for place in range(3)]
        assert all(5 <= len(found) <= 6 for found in one["logprobs"]["top_logprobs"])


def test_a_seed_gives_the_same_answers_again(engine: RunningEngine) -> None:
    once, again = (
        [one["text"] for one in asked(engine, prompt="Hello", n=3, seed=5, temperature=2)["choices"]]
        for _ in "12"
    )
    assert once == again


def test_what_the_model_does_not_know_is_told_of_the_prompt(engine: RunningEngine) -> None:
    outgoing = written(prompt=[72, 99_999])
    status, data = engine.ask(f"/v1{outgoing.path}", outgoing.body)
    error = LlamaCpp().error(status, (), data)
    assert (error.status, error.param, error.code) == (400, "prompt", "invalid_value")
