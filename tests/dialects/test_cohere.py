"""Cohere's dialect where the cases do not go: refusals, errors, odd streams, what holds of any request."""

from __future__ import annotations

import json
from base64 import b64decode
from struct import unpack
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from headgate.core.endpoint import Endpoint
from headgate.core.errors import ApiError, InvalidField, NotFound, UpstreamFailed
from headgate.core.sse import DONE, event
from headgate.dialects.cohere import Cohere
from headgate.dialects.cohere_reply import ReplyPlan
from headgate.dialects.cohere_stream import Reply
from headgate.dialects.table import make_dialect
from tests.dialects.calls import chat_call, embedding_call
from tests.dialects.cohere_types import accepted, known_event, known_reply
from tests.dialects.conversations import ARGUMENTS, NAMES, WORDS, accumulated, conversations

Json = dict[str, Any]
USER = {"role": "user", "content": "hi"}
ASKED = {"model": "m", "messages": [USER], "stream": False}
TOOLS = [{"type": "function", "function": {"name": "f"}}]
PLAN = ReplyPlan(1, "m")


def sent(body: Json, **options: Any) -> Json:
    return msgspec.json.decode(Cohere(**options).request(chat_call(body)).body, type=Json)


def refused(body: Json, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        Cohere(**options).request(chat_call(body))
    assert caught.value.status == 400
    return caught.value


# --- requests -------------------------------------------------------------------------------------


def test_the_types_that_requests_are_held_to_know_what_is_wrong() -> None:
    accepted(ASKED)
    for wrong in (
        {**ASKED, "n": 1},
        {**ASKED, "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "x": 1}]}]},
        {**ASKED, "messages": [{"role": "function", "content": "x"}]},
        {**ASKED, "tools": [{"type": "function", "function": {"name": "f"}}]},
        {**ASKED, "p": "much"},
    ):
        with pytest.raises((pydantic.ValidationError, AssertionError)):
            accepted(wrong)


@pytest.mark.parametrize(
    "given_",
    [
        {"seed": -1},
        {"logit_bias": {"1": 5}},
        {"verbosity": "low"},
        {"store": True},
        {"service_tier": "flex"},
        {"web_search_options": {}},
        {"moderation": {"model": "m"}},
        {"audio": {"voice": "v", "format": "mp3"}},
        {"presence_penalty": -1},
        {"frequency_penalty": -0.5},
        {"parallel_tool_calls": False, "tools": TOOLS},
        {"top_logprobs": 3, "logprobs": True},
    ],
    ids=lambda given_: next(iter(given_)),
)
def test_what_does_not_exist_there_is_refused_or_dropped(given_: Json) -> None:
    name = next(iter(given_))
    error = refused(given_)
    assert (error.param, error.code) == (name, "unsupported_parameter")
    dropping = Cohere(drop_unsupported=True).request(chat_call(given_))
    assert dropping.dropped == (name,)
    body = msgspec.json.decode(dropping.body, type=Json)
    body.pop("tools", None)
    body.pop("logprobs", None)
    assert body == ASKED


def test_values_that_change_nothing_are_no_loss() -> None:
    nothing = {
        "n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "logprobs": False,
        "verbosity": "medium", "service_tier": "auto", "modalities": ["text"], "stop": "", "store": False,
        "response_format": {"type": "text"}, "stream": False, "metadata": {}, "tools": [],
        "prediction": None, "x_own": None, "documents": None,
    }  # fmt: skip
    outgoing = Cohere().request(chat_call(nothing))
    assert outgoing.dropped == ()
    assert msgspec.json.decode(outgoing.body) == ASKED


def message(**fields: Any) -> Json:
    return {"messages": [USER, {"role": "user", **fields}]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 2}, "n"),
        ({"modalities": ["text", "image"]}, "modalities"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages"),
        (message(role="narrator", content="x"), "messages[1].role"),
        (message(role="assistant", reasoning_content=7), "messages"),
        (message(content=[{"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}]),
         "messages[1].content[0].image_url.url"),
        (message(content=[{"type": "file", "file": {"file_data": "AA=="}}]), "messages[1].content[0].type"),
        (message(content=[{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]),
         "messages[1].content[0].type"),
        (message(role="tool", tool_call_id="a", content=[
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]),
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
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "lottery"}}, "tool_choice.type"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "never", "tools": []}}}, "tool_choice.allowed_tools.mode"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "auto", "tools": [{"function": 1}]}}}, "tool_choice"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call"),
        ({"functions": [{"name": "f"}], "function_call": "required"}, "function_call"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_by_name(body: Json, param: str) -> None:
    for drop in (False, True):
        error = refused(body, drop_unsupported=drop)
        assert isinstance(error, InvalidField)
        assert error.param == param


def test_another_endpoint_is_not_served() -> None:
    call = chat_call({})
    call.request = msgspec.defstruct("Other", [])()
    call.endpoint = Endpoint(name="x", method="POST", path="/v1/x", scope="x", summary="x")
    with pytest.raises(NotFound, match="/v1/x"):
        Cohere().request(call)


def test_the_table_makes_it() -> None:
    dialect = make_dialect("cohere", drop_unsupported=True)
    assert isinstance(dialect, Cohere)
    assert dialect.request(chat_call({"store": True})).dropped == ("store",)
    assert dialect.credentials("k") == ((b"authorization", b"Bearer k"),)


# --- vectors --------------------------------------------------------------------------------------


def test_vectors_that_cannot_be_had() -> None:
    for body, param in (
        ({"input": [1, 2]}, "input[0]"),
        ({"input": [[1], [2]]}, "input[0]"),
        ({"input": ["x"] * 97}, "input"),
    ):
        with pytest.raises(InvalidField) as caught:
            Cohere().request(embedding_call(body))
        assert caught.value.param == param
    translator = Cohere().request(embedding_call({})).translator
    assert translator is not None
    with pytest.raises(UpstreamFailed):
        translator.whole(b'{"embeddings": {"int8": [[1]]}}')
    assert translator.event(b"data: {}\n\n") == translator.end() == b""


@given(st.lists(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=5), min_size=1, max_size=4))
def test_packed_vectors_are_the_same(vectors: list[list[float]]) -> None:
    body = json.dumps({"embeddings": {"float": vectors}}).encode()
    made = []
    for encoding in ("float", "base64"):
        translator = Cohere().request(embedding_call({"encoding_format": encoding})).translator
        assert translator is not None
        made.append(json.loads(translator.whole(body)))
    plain = [one["embedding"] for one in made[0]["data"]]
    packed = [b64decode(one["embedding"]) for one in made[1]["data"]]
    assert plain == vectors
    assert [list(unpack(f"<{len(data) // 4}f", data)) for data in packed] == vectors


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words", "told", "code"),
    [
        (400, "invalid request: list of messages must be provided", 400, None),
        (400, "too many tokens: size limit exceeded by 4000 tokens", 400, "context_length_exceeded"),
        (401, "invalid api token", 502, "upstream_error"),
        (402, "Please add or update your payment method", 502, "upstream_error"),
        (404, "model 'command-x' not found, make sure the correct model ID was used", 404, "model_not_found"),
        (422, "message must be at least 1 token long", 400, None),
        (429, "You are using a Trial key, which is limited to 20 API calls / minute", 429,
         "rate_limit_exceeded"),
        (498, "invalid token", 502, "upstream_error"),
        (499, "request cancelled", 502, "upstream_error"),
        (500, "internal server error, this has been reported at 10.0.0.7", 502, "upstream_error"),
        (503, "unavailable", 503, "upstream_unavailable"),
        (504, "timeout", 504, "upstream_timeout"),
    ],
)  # fmt: skip
def test_an_error_reply(status: int, words: str, told: int, code: str | None) -> None:
    error = Cohere().error(status, (), json.dumps({"id": "x", "message": words}).encode())
    assert (error.status, error.code) == (told, code)
    assert "Trial" not in error.message
    assert "10.0.0.7" not in error.message


# --- replies --------------------------------------------------------------------------------------


def answer(message: Json, reason: str = "COMPLETE") -> Json:
    usage = {"tokens": {"input_tokens": 3.0, "output_tokens": 4.0}}
    return {"id": "1", "finish_reason": reason, "message": {"role": "assistant", **message}, "usage": usage}


def streamed(*told: Json) -> bytes:
    reply = Reply(PLAN)
    made = [reply.event(b"event: x\n" + event(json.dumps(one).encode())) for one in told]
    return b"".join([*made, reply.end()])


def test_no_answer_is_an_error() -> None:
    for reason in ("ERROR", "TIMEOUT"):
        with pytest.raises(UpstreamFailed):
            Reply(PLAN).whole(json.dumps(answer({}, reason)).encode())
        assert b'"error"' in streamed({"type": "message-end", "delta": {"finish_reason": reason}})
    for body in (b"{}", b"[]", b"no"):
        with pytest.raises(msgspec.DecodeError):
            Reply(PLAN).whole(body)


def test_events_that_mean_nothing_become_nothing() -> None:
    reply = Reply(PLAN)
    for odd in (b"", b"hello", b"[]", b"{", b'{"delta":7}', b"\xff", b"[" * 100_000, b"{}"):
        assert reply.event(event(odd)) == b""
    assert reply.event(b": comment\n\n") == b": comment\n\n"
    assert reply.event(b"event: x\n\n") == reply.end() == b""


def test_a_call_whose_arguments_come_at_once() -> None:
    start = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    made = accumulated(
        streamed(
            {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": start}}},
            {"type": "tool-call-end", "index": 0},
            {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL"}},
        )
    )
    assert made["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"x":1}'}
    assert made["finish_reason"] == "tool_calls"


# --- what holds of any ----------------------------------------------------------------------------


@st.composite
def answers(draw: st.DrawFn) -> Json:
    """A model's message: thoughts, words, calls."""
    content = [{"type": "thinking", "thinking": text} for text in draw(st.lists(WORDS, max_size=1))]
    content += [{"type": "text", "text": text} for text in draw(st.lists(WORDS, max_size=1))]
    calls = [
        {"id": f"c{place}", "type": "function",
         "function": {"name": name, "arguments": json.dumps(draw(ARGUMENTS))}}
        for place, name in enumerate(draw(st.lists(NAMES, max_size=3)))
    ]  # fmt: skip
    made: Json = {"content": content} if content else {}
    return {**made, "tool_calls": calls} if calls else made


def in_events(message: Json, cut: int) -> list[Json]:
    """The same message as a stream tells it, every text cut in two."""
    told: list[Json] = [{"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}}]
    for index, part in enumerate(message.get("content", ())):
        kind = part["type"]
        begun: Json = {"message": {"content": {"type": kind, kind: ""}}}
        told.append({"type": "content-start", "index": index, "delta": begun})
        for piece in (part[kind][:cut], part[kind][cut:]):
            delta = {"message": {"content": {kind: piece}}}
            told.append({"type": "content-delta", "index": index, "delta": delta})
        told.append({"type": "content-end", "index": index})
    for index, call in enumerate(message.get("tool_calls", ())):
        text = call["function"]["arguments"]
        begun = {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
        told.append({"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": begun}}})
        for piece in (text[:cut], text[cut:]):
            delta = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
            told.append({"type": "tool-call-delta", "index": index, "delta": delta})
        told.append({"type": "tool-call-end", "index": index})
    return [*told, {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}]


@given(answers(), st.integers(0, 8))
def test_an_answer_comes_back_as_it_went(given_: Json, cut: int) -> None:
    """Whole and streamed are the same message; sent back as history, it is the same message."""
    body = json.dumps(answer(given_)).encode()
    known_reply(body)
    completion = json.loads(Reply(PLAN).whole(body))
    ChatCompletion.model_validate(completion, strict=True)
    whole = completion["choices"][0]["message"]

    told = in_events(given_, cut)
    for one in told:
        known_event(json.dumps(one).encode())
    stream = streamed(*told)
    assert stream.endswith(DONE)
    made = accumulated(stream)
    assert made["content"] == (whole["content"] or "")
    assert made["reasoning_content"] == whole.get("reasoning_content", "")
    assert made["tool_calls"] == whole.get("tool_calls", [])

    back = sent({"messages": [USER, whole]})
    accepted(back)
    said = back["messages"][1] if len(back["messages"]) > 1 else {}
    content = said.get("content", [])
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    assert parts == given_.get("content", [])
    assert said.get("tool_calls", []) == given_.get("tool_calls", [])


SAME = {
    "temperature": "temperature", "top_p": "p", "max_tokens": "max_tokens", "stop": "stop_sequences",
    "seed": "seed", "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty",
    "logprobs": "logprobs",
}  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> Json:
    body: Json = {"messages": draw(conversations())}
    for name, values in {
        "temperature": st.floats(0, 2), "top_p": st.floats(0.01, 0.99), "max_tokens": st.integers(1, 10**6),
        "stop": st.lists(WORDS, min_size=1, max_size=4), "seed": st.integers(0, 2**62),
        "presence_penalty": st.floats(0.1, 1), "frequency_penalty": st.floats(0.1, 1),
        "logprobs": st.just(True),
    }.items():  # fmt: skip
        if draw(st.booleans()):
            body[name] = draw(values)
    return body


@given(requests())
def test_every_field_that_both_formats_have_is_kept(body: Json) -> None:
    made = sent(body)
    accepted(made)
    assert {ours: made[theirs] for ours, theirs in SAME.items() if theirs in made} == {
        name: value for name, value in body.items() if name in SAME
    }
    assert [said_by(one) for one in made["messages"]] == [said_by(one) for one in body["messages"]]


def said_by(message: Json) -> Json:
    """A message in words that both formats have."""
    role = "system" if message["role"] == "developer" else message["role"]
    said: Json = {name: message[name] for name in ("tool_calls", "tool_call_id") if name in message}
    return {**said, "role": role, "content": message.get("content") or ""}
