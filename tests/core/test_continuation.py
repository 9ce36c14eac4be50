"""An answer of two upstreams is one answer: no word twice, none lost, one of what there is one of."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from headgate.core.body import open_body
from headgate.core.chat import ChatRequest
from headgate.core.continuation import Continuation, can_continue, continued_body
from headgate.core.errors import UpstreamFailed
from headgate.core.estimate import estimate_tokens
from headgate.core.sse import events, payload
from headgate.core.transcript import Beginning, Heading, Transcript


def chunk(name: str, finish: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    told = {"id": name, "object": "chat.completion.chunk", "created": 1, "model": name, "choices": [choice]}
    return b"data: " + json.dumps(told).encode() + b"\n\n"


def usage(name: str, prompt: int, completion: int) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return b"data: " + json.dumps({"id": name, "choices": [], "usage": counts}).encode() + b"\n\n"


def chunks(stream: bytes) -> list[dict[str, Any]]:
    found = [payload(one) for one in events(stream)]
    return [json.loads(data) for data in found if data is not None]


def text_of(stream: bytes) -> str:
    return "".join(
        choice["delta"].get("content") or "" for one in chunks(stream) for choice in one["choices"]
    )


def asked(beginning: Beginning, way: str = "plain", **fields: Any) -> dict[str, Any] | None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    _, raw = open_body(json.dumps(body).encode(), ChatRequest)
    made = continued_body(raw, beginning, way)
    return json.loads(made) if made is not None else None


def pieces(data: st.DataObject, text: str) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


# White space and repetition are what could be taken for an echo, or lost.
WORDS = st.text(alphabet='ab \n你"\\\u200b😀', max_size=40)


@given(st.data(), WORDS)
def test_cut_anywhere_it_is_one_answer(data: st.DataObject, answer: str) -> None:
    transcript, seen = Transcript(), b""
    heads = [chunk("one", role="assistant", content="")]
    said = [chunk("one", content=piece) for piece in pieces(data, answer)]
    first = (heads + said)[: data.draw(st.integers(0, len(said) + 1))]
    for one in first:
        transcript.feed(one)
        seen += one
    prompt, rounds, beginning = 10, data.draw(st.integers(1, 3)), Beginning()
    for number in range(rounds):
        heard = transcript.beginning()
        assert heard is not None
        beginning = heard
        sent = asked(beginning)
        assert sent is not None
        # A model goes on from what it was given, however much of it the client knows.
        given_text = sent["messages"][-1]["content"] if len(sent["messages"]) > 1 else ""
        assert answer.startswith(given_text)
        rest = pieces(data, answer[len(given_text) :])
        continuation = Continuation(beginning)
        upstream = [chunk("two", role="assistant", content=""), *(chunk("two", content=one) for one in rest)]
        if number < rounds - 1:
            upstream = upstream[: data.draw(st.integers(0, len(upstream)))]
        else:
            upstream += [chunk("two", finish="stop"), usage("two", prompt + beginning.text_tokens, 5)]
        for one in upstream:
            out = continuation.rewrite(one)
            transcript.feed(out)
            seen += out
    assert text_of(seen) == answer
    told = chunks(seen)
    assert len({one["id"] for one in told}) == 1
    if first:
        assert {one["id"] for one in told} == {"one"}
        assert {one.get("model", "one") for one in told} == {"one"}
        assert sum("role" in choice["delta"] for one in told for choice in one["choices"]) == 1
    finishes = [choice["finish_reason"] for one in told for choice in one["choices"]]
    assert [finish for finish in finishes if finish] == ["stop"]
    assert finishes[-1] == "stop"
    counts = told[-1]["usage"]
    assert counts["prompt_tokens"] == prompt
    assert counts["completion_tokens"] == beginning.text_tokens + 5
    assert counts["total_tokens"] == counts["prompt_tokens"] + counts["completion_tokens"]


def test_the_request_says_what_was_said_without_its_last_space() -> None:
    beginning = Beginning(text=" Hello, \n", text_tokens=2)
    sent = asked(beginning, max_tokens=10, temperature=0.5, unknown={"a": 1})
    assert sent == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " Hello,"}],
        "max_tokens": 8,
        "temperature": 0.5,
        "unknown": {"a": 1},
    }


@pytest.mark.parametrize(
    ("way", "request_more", "message_more"),
    [
        ("plain", {}, {}),
        ("continue_final_message", {"continue_final_message": True, "add_generation_prompt": False}, {}),
        ("prefix", {}, {"prefix": True}),
        ("partial", {}, {"partial": True}),
    ],
)
def test_ways_to_ask(way: str, request_more: dict[str, Any], message_more: dict[str, Any]) -> None:
    user = {"role": "user", "content": "Hi"}
    last = {"role": "assistant", "content": "Hel", **message_more}
    assert asked(Beginning(text="Hel"), way) == {"model": "m", "messages": [user, last], **request_more}
    assert asked(Beginning(), way) == {"model": "m", "messages": [user]}


def test_nothing_said_is_the_same_request() -> None:
    assert asked(Beginning(text=" \n"), max_completion_tokens=9) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_completion_tokens": 9,
    }


def test_an_answer_that_is_long_enough_is_not_gone_on_with() -> None:
    assert asked(Beginning(text="a b c", text_tokens=3), max_tokens=3) is None
    assert asked(Beginning(reasoning_tokens=5), max_completion_tokens=4) is None


@pytest.mark.parametrize(
    ("fields", "can"),
    [
        ({}, True),
        ({"n": 1, "tools": [{"type": "function", "function": {"name": "f"}}]}, True),
        ({"response_format": {"type": "text"}}, True),
        ({"n": 2}, False),
        ({"response_format": {"type": "json_object"}}, False),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "s"}}}, False),
        ({"audio": {"voice": "a", "format": "mp3"}}, False),
    ],
)
def test_what_can_be_gone_on_with(fields: dict[str, Any], can: bool) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    request, _ = open_body(json.dumps(body).encode(), ChatRequest)
    assert can_continue(request) is can


def test_reasoning_is_not_shown_again() -> None:
    thought = chunk("one", reasoning_content="Let me think.")
    transcript = Transcript()
    transcript.feed(chunk("one", role="assistant") + thought)
    beginning = transcript.beginning()
    assert beginning is not None
    continuation = Continuation(beginning)
    out = continuation.rewrite(
        chunk("two", role="assistant", reasoning_content="Hm.")
        + chunk("two", reasoning_content="Hm.")
        + chunk("two", content="So.")
        + usage("two", 10, 4)
    )
    assert [choice["delta"] for one in chunks(out) for choice in one["choices"]] == [{"content": "So."}]
    tokens = estimate_tokens("Let me think.")
    assert chunks(out)[-1]["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 4 + tokens,
        "total_tokens": 14 + tokens,
    }


def test_reasoning_that_was_not_shown_is_shown() -> None:
    continuation = Continuation(Beginning(text="Hello", opened=True))
    assert b"Hm." in continuation.rewrite(chunk("two", reasoning_content="Hm."))


def test_what_is_not_ours_passes_as_it_came() -> None:
    continuation = Continuation(Beginning(heading=Heading()))
    odd = b'data: {"id":"x","extra":1.50,"choices":[{"index":0,"delta":{"content":"a","x":[1e2]}}]}\n\n'
    assert continuation.rewrite(b": comment\n\n" + odd) == b": comment\n\n" + odd
    call = chunk("two", tool_calls=[{"index": 0, "id": "c"}])
    assert chunks(continuation.rewrite(call))[0]["choices"][0]["delta"] == {
        "tool_calls": [{"index": 0, "id": "c"}]
    }


@pytest.mark.parametrize("data", [b"[1]", b'{"choices":[1]}', b'{"choices":[{"delta":3}]}', b"{"])
def test_what_cannot_be_joined_is_an_error(data: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        Continuation(Beginning()).rewrite(b"data: " + data + b"\n\n")
