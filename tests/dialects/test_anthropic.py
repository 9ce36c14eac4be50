"""Anthropic's dialect where the cases do not go: refusals, errors, odd streams, what holds of any request."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from headgate.core.endpoint import Endpoint
from headgate.core.errors import ApiError, InvalidField, NotFound, UpstreamFailed
from headgate.core.sse import DONE, event, events, payload
from headgate.dialects.anthropic import Anthropic
from headgate.dialects.anthropic_reply import ReplyPlan
from headgate.dialects.anthropic_stream import Reply
from headgate.dialects.llamacpp import LlamaCpp
from headgate.dialects.openai import OpenAI
from headgate.dialects.table import make_dialect
from tests.dialects.anthropic_types import accepted
from tests.dialects.calls import chat_call

Json = dict[str, Any]
USER = {"role": "user", "content": "hi"}
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def sent(body: Json, **options: Any) -> Json:
    return msgspec.json.decode(Anthropic(**options).request(chat_call(body)).body, type=Json)


def refused(body: Json, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        Anthropic(**options).request(chat_call(body))
    assert caught.value.status == 400
    return caught.value


# --- requests -------------------------------------------------------------------------------------


def test_the_types_that_requests_are_held_to_know_what_is_wrong() -> None:
    accepted({"model": "m", "max_tokens": 1, "messages": [USER]})
    with pytest.raises(AssertionError):
        accepted({"model": "m", "max_tokens": 1, "messages": [USER], "temperature": 1})
    block = {"type": "text", "text": "a", "more": 1}
    with pytest.raises(AssertionError):
        accepted({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [block]}]})
    with pytest.raises(pydantic.ValidationError):
        accepted({"model": "m", "messages": [USER]})


@pytest.mark.parametrize(
    "given_",
    [
        {"temperature": 0.7},
        {"top_p": 0.5},
        {"seed": 0},
        {"seen": 1},
        {"logprobs": True},
        {"logit_bias": {"1": 5}},
        {"presence_penalty": 0.1},
        {"frequency_penalty": -1},
        {"store": True},
        {"verbosity": "low"},
        {"service_tier": "flex"},
        {"stop": " \n"},
        {"web_search_options": {}},
    ],
    ids=lambda given_: next(iter(given_)),
)
def test_what_does_not_exist_there_is_refused_or_dropped(given_: Json) -> None:
    name = next(iter(given_)).replace("seen", "seed")
    error = refused(given_)
    assert (error.param, error.code) == (name, "unsupported_parameter")
    dropping = Anthropic(drop_unsupported=True).request(chat_call(given_))
    assert dropping.dropped == (name,)
    assert msgspec.json.decode(dropping.body) == {"model": "m", "max_tokens": 32_000, "messages": [USER]}


def test_values_that_change_nothing_are_no_loss() -> None:
    nothing = {
        "temperature": 1, "top_p": 1.0, "n": 1, "presence_penalty": 0, "frequency_penalty": 0.0,
        "logit_bias": {}, "logprobs": False, "store": False, "verbosity": "medium",
        "service_tier": "auto", "modalities": ["text"], "stop": "",
        "response_format": {"type": "text"}, "stream": False, "metadata": {}, "tools": [],
        "prediction": None, "x_own": None,
    }  # fmt: skip
    outgoing = Anthropic().request(chat_call(nothing))
    assert outgoing.dropped == ()
    assert msgspec.json.decode(outgoing.body) == {"model": "m", "max_tokens": 32_000, "messages": [USER]}


def test_hints_are_dropped_and_told_in_any_case() -> None:
    outgoing = Anthropic().request(
        chat_call(
            {
                "metadata": {"a": "b"},
                "prompt_cache_key": "k",
                "user": "u",
                "safety_identifier": "s",
                "system": "theirs",
                "messages": [{"role": "system", "content": "ours"}, {**USER, "name": "Ada"}, USER],
            }
        )
    )
    assert outgoing.dropped == (
        "messages.name",
        "safety_identifier",
        "metadata",
        "prompt_cache_key",
        "system",
    )
    assert msgspec.json.decode(outgoing.body, type=Json)["system"] == "ours"


def test_limits() -> None:
    assert sent({"max_tokens": 7})["max_tokens"] == 7
    assert sent({"max_completion_tokens": 2**40})["max_tokens"] == 2**31 - 1
    assert sent({"safety_identifier": "s"})["metadata"] == {"user_id": "s"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 2}, "n"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"thinking": 5}, "thinking"),
        ({"output_config": []}, "output_config"),
        ({"messages": [{"role": "system", "content": "alone"}]}, "messages"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a", "cache_control": 1}]}, "messages"),
        ({"messages": [{"role": "critic", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {
            "url": "https://a/b"}}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {
            "data": "", "format": "wav"}}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {
            "url": "http://a/b.png"}}]}]}, "messages[0].content[0].image_url.url"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {
            "url": "data:image/bmp;base64,AA=="}}]}]}, "messages[0].content[0].image_url.url"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {
            "file_data": "data:application/zip;base64,AA=="}}]}]}, "messages[0].content[0].file.file_data"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {
            "file_data": "data:text/plain;base64,/w=="}}]}]}, "messages[0].content[0].file.file_data"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [{"id": "a", "type": "function",
            "function": {"name": "f", "arguments": "[1]"}}]}]},
            "messages[1].tool_calls[0].function.arguments"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {
            "name": "f", "input": "x"}}]}]}, "messages[1].tool_calls[0].type"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [{**TOOLS[0], "cache_control": 5}]}, "tools"),
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice.type"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "never", "tools": []}}}, "tool_choice.allowed_tools.mode"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "auto", "tools": [{"function": {"name": "g"}}]}}}, "tool_choice"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call"),
        ({"functions": [{"name": "f"}], "function_call": "required"}, "function_call"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_object"}, "reasoning_effort": "low"}, "response_format"),
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
        Anthropic().request(call)


def test_ids_meet_however_they_are_spelt() -> None:
    body = sent(
        {
            "messages": [
                USER,
                {"role": "assistant", "tool_calls": [
                    {"id": "functions.f:0", "type": "function",
                     "function": {"name": "f", "arguments": " "}}]},
                {"role": "tool", "tool_call_id": "functions.f:0", "content": None},
            ]
        }
    )  # fmt: skip
    used, result = body["messages"][1]["content"][0], body["messages"][2]["content"][0]
    assert used["id"] == result["tool_use_id"] == "functions_2ef_3a0"
    assert used["input"] == {}


def test_numbers_in_arguments_stay_as_they_were_written() -> None:
    arguments = '{"a": 1.50, "b": 12345678901234567890123}'
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    outgoing = Anthropic().request(
        chat_call({"messages": [USER, {"role": "assistant", "tool_calls": [call]}]})
    )
    assert arguments.encode() in outgoing.body


def test_how_the_form_of_an_answer_meets_a_choice_of_tools() -> None:
    wanted = {"response_format": {"type": "json_object"}, "tools": TOOLS}
    assert sent({**wanted, "tool_choice": "required"})["tools"] == sent({"tools": TOOLS})["tools"]
    assert sent({**wanted, "tool_choice": "none"})["tool_choice"]["name"] == "json"
    assert sent({**wanted, "parallel_tool_calls": False})["tool_choice"] == {
        "type": "any",
        "disable_parallel_tool_use": True,
    }
    listed = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}}
    assert sent({"response_format": listed})["output_config"]["format"]["schema"] == {"type": "array"}


def test_who_says_how_the_key_is_sent() -> None:
    assert Anthropic().credentials("k") == ((b"x-api-key", b"k"),)
    for dialect in (OpenAI(), LlamaCpp()):
        assert dialect.credentials("k") == ((b"authorization", b"Bearer k"),)


def test_every_dialect_has_its_name() -> None:
    for name, kind in (("openai", OpenAI), ("llamacpp", LlamaCpp), ("anthropic", Anthropic)):
        assert isinstance(make_dialect(name), kind)
    with pytest.raises(ValueError, match="morse"):
        make_dialect("morse")


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "message", "becomes"),
    [
        (400, "invalid_request_error", "max_tokens: 9 > 8", (400, None)),
        (400, "invalid_request_error", "prompt is too long: 9 > 8", (400, "context_length_exceeded")),
        (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 8 > 8",
         (400, "context_length_exceeded")),
        (400, "invalid_request_error", "Your credit balance is too low", (503, "upstream_unavailable")),
        (401, "authentication_error", "invalid x-api-key", (502, "upstream_error")),
        (402, "billing_error", "Pay.", (502, "upstream_error")),
        (403, "permission_error", "No.", (502, "upstream_error")),
        (404, "not_found_error", "model: claude-0", (404, "model_not_found")),
        (404, "not_found_error", "Not found", (502, "upstream_error")),
        (413, "request_too_large", "Request exceeds the maximum size", (413, None)),
        (429, "rate_limit_error", "requests per minute of org-1", (429, "rate_limit_exceeded")),
        (500, "api_error", "Internal server error", (502, "upstream_error")),
        (504, "timeout_error", "Timeout", (504, "upstream_timeout")),
        (529, "overloaded_error", "Overloaded", (503, "upstream_unavailable")),
    ],
)  # fmt: skip
def test_an_error(status: int, kind: str, message: str, becomes: tuple[int, str | None]) -> None:
    body = msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})
    error = Anthropic().error(status, [(b"retry-after", b"2")], body)
    assert (error.status, error.code) == becomes
    assert "org-1" not in error.message
    if status in (429, 504, 529):
        assert error.retry_after_ms == 2000


def test_an_error_without_a_body() -> None:
    for status in (400, 404, 429, 502):
        assert Anthropic().error(status, [], b"<html>").status in (400, 429, 502)


# --- replies --------------------------------------------------------------------------------------


def reply(**plan: Any) -> Reply:
    return Reply(ReplyPlan(1, "m", **plan))


def feed(translator: Reply, *found: Json) -> list[Json]:
    """The choices of the chunks that these events become."""
    out = b"".join([translator.event(event(msgspec.json.encode(one))) for one in found])
    data = [payload(one) or b"" for one in events(out)]
    return [json.loads(one) for one in data if one != b"[DONE]"]


def text(words: object) -> Json:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": words}}


def test_an_error_with_status_200() -> None:
    for body in (b'{"type":"error","error":{"type":"api_error"}}', b'{"error":"no"}'):
        with pytest.raises(UpstreamFailed):
            reply().whole(body)
    with pytest.raises(msgspec.DecodeError):
        reply().whole(b"[]")
    told = feed(reply(), {"error": {"message": "llama", "type": 5}})
    assert told[0]["error"]["code"] == "upstream_error"


def test_what_is_no_event_harms_nothing() -> None:
    translator = reply()
    assert translator.event(b": comment\n\n") == b": comment\n\n"
    for odd in (
        b"event: ping\n\n",
        b"data: {cut\n\n",
        b'data: "word"\n\n',
        b"data: \xff\n\n",
        b'data: {"type":5}\n\n',
    ):
        assert translator.event(odd) == b""
    assert (
        feed(translator, {"type": "content_block_delta", "index": 0}, {"type": "content_block_start"}) == []
    )
    assert len(feed(translator, text("a"))) == 2, "the first chunk comes before the first word"
    odd_pieces = [text(5), text(None), text(""), {"type": "content_block_stop", "index": 9}]
    assert feed(translator, *odd_pieces) == []
    stray = {"type": "input_json_delta", "partial_json": "{}"}
    assert feed(translator, {"type": "content_block_delta", "index": 7, "delta": stray}) == []


def test_a_stream_that_never_says_stop_is_not_complete() -> None:
    translator = reply()
    feed(translator, {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 5}}})
    feed(translator, text("a"))
    # Usage here would make the gate think that the stream was complete.
    assert translator.end() == b""
    stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
    feed(translator, stop)
    assert feed(translator, stop) == [], "one reason is enough"
    last = translator.end()
    assert json.loads(payload(last) or b"")["usage"]["completion_tokens"] == 3
    assert translator.end() == b""
    assert translator.event(b'data: {"type":"message_stop"}\n\n') == DONE


def test_a_call_that_comes_at_once() -> None:
    whole = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}
    found = feed(
        reply(),
        {"type": "content_block_start", "index": 0, "content_block": whole},
        {"type": "content_block_stop", "index": 0},
    )
    calls = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in found[1:]]
    assert [call["function"]["arguments"] for call in calls] == ["", '{"x":1}']


def test_the_old_form_has_room_for_one_call() -> None:
    blocks = [
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {}},
    ]
    message = {"content": blocks, "stop_reason": "tool_use"}
    made = json.loads(reply(legacy=True).whole(msgspec.json.encode(message)))["choices"][0]
    assert made["message"]["function_call"] == {"name": "f", "arguments": '{"x":1}'}
    assert "tool_calls" not in made["message"]
    found: list[Json] = []
    translator = reply(legacy=True)
    for index, block in enumerate(blocks):
        found += feed(
            translator,
            {"type": "content_block_start", "index": index, "content_block": block},
            {"type": "content_block_stop", "index": index},
        )
    told = [chunk["choices"][0]["delta"].get("function_call") for chunk in found[1:]]
    assert told == [{"name": "f", "arguments": ""}, {"arguments": '{"x":1}'}]


WORDS = st.text(max_size=12)
BLOCKS = st.one_of(
    st.builds(lambda words: {"type": "text", "text": words}, WORDS),
    st.builds(lambda words: {"type": "thinking", "thinking": words, "signature": "s" + words}, WORDS),
    st.builds(lambda words: {"type": "redacted_thinking", "data": words}, WORDS),
    st.builds(
        lambda name, value: {"type": "tool_use", "id": "t" + name, "name": name, "input": value},
        st.sampled_from(["f", "g", "answer"]),
        st.dictionaries(WORDS, st.none() | st.integers(-9, 9) | WORDS, max_size=2),
    ),
    st.just({"type": "server_tool_use", "id": "s", "name": "f", "input": {}}),
)
STOPS = st.sampled_from(
    ["end_turn", "tool_use", "max_tokens", "stop_sequence", "refusal", "pause_turn", "new"]
)


@given(blocks=st.lists(BLOCKS, max_size=5), stop=STOPS, data=st.data(), legacy=st.booleans())
def test_streamed_or_whole_a_reply_is_the_same(
    blocks: list[Json], stop: str, data: st.DataObject, legacy: bool
) -> None:
    usage = {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 7}
    message = {"id": "msg_1", "model": "m", "content": blocks, "stop_reason": stop, "usage": usage}
    plan = {"legacy": legacy, "answer_tool": "answer"}
    whole = json.loads(reply(**plan).whole(msgspec.json.encode(message)))
    ChatCompletion.model_validate(whole, strict=True)
    found: list[Json] = [{"type": "message_start", "message": {**message, "content": []}}]
    for index, block in enumerate(blocks):
        found += streamed(index, block, data)
    found.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 7}})
    found.append({"type": "message_stop"})
    chunks = feed(reply(**plan), *found)
    folded = fold([chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]])
    expected = {name: value for name, value in whole["choices"][0]["message"].items() if value is not None}
    if expected.get("content") == "":
        expected.pop("content")
    assert folded == expected
    assert chunks[-1]["usage"] == whole["usage"]
    assert chunks[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]


def streamed(index: int, block: Json, data: st.DataObject) -> list[Json]:
    """The events of a block, its text in pieces."""
    shapes: dict[str, tuple[Json, tuple[str, str], str | None]] = {
        "text": ({"text": ""}, ("text_delta", "text"), block.get("text")),
        "thinking": (
            {"thinking": "", "signature": ""},
            ("thinking_delta", "thinking"),
            block.get("thinking"),
        ),
        "tool_use": ({"input": {}}, ("input_json_delta", "partial_json"), json_of(block.get("input"))),
    }
    empty, piece, whole = shapes.get(block["type"], ({}, ("", ""), None))
    pieces: list[Json] = []
    if whole is not None:
        cut = data.draw(st.integers(0, len(whole)))
        pieces = [{"type": piece[0], piece[1]: part} for part in (whole[:cut], whole[cut:])]
    if block["type"] == "thinking":
        pieces.append({"type": "signature_delta", "signature": block["signature"]})
    return [
        {"type": "content_block_start", "index": index, "content_block": {**block, **empty}},
        *({"type": "content_block_delta", "index": index, "delta": one} for one in pieces),
        {"type": "content_block_stop", "index": index},
    ]


def json_of(value: object) -> str:
    return msgspec.json.encode(value).decode()


def fold(deltas: list[Json]) -> Json:
    """What a client makes of a stream."""
    message: Json = {}
    for delta in deltas:
        for name, value in delta.items():
            if name in ("tool_calls", "thinking_blocks"):
                for entry in value:
                    fold_entry(message.setdefault(name, []), entry, keep_index=name == "thinking_blocks")
            elif name == "function_call":
                known = message.setdefault(name, {"name": "", "arguments": ""})
                for key, words in value.items():
                    known[key] += words
            elif value:
                message[name] = message.get(name, "") + value
    return message


def fold_entry(entries: list[Json], entry: Json, *, keep_index: bool) -> None:
    if entry["index"] == len(entries):
        entries.append({name: value for name, value in entry.items() if keep_index or name != "index"})
    else:
        entries[entry["index"]]["function"]["arguments"] += entry["function"]["arguments"]


# --- any conversation -----------------------------------------------------------------------------

SAID = st.text(min_size=1, max_size=8)
PARTS = st.one_of(
    st.builds(lambda words: {"type": "text", "text": words}, SAID),
    st.builds(
        lambda name: {"type": "image_url", "image_url": {"url": f"https://a.b/{name}"}}, st.integers(0, 9)
    ),
    st.just({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}),
)
CALLED = st.builds(
    lambda number, name, value: {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": name, "arguments": json_of(value)},
    },
    st.integers(0, 99),
    st.sampled_from(["f", "g"]),
    st.dictionaries(SAID, st.integers(-9, 9), max_size=2),
)
MESSAGES = st.one_of(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["system", "developer"]),
        SAID,
    ),
    st.builds(
        lambda content: {"role": "user", "content": content}, SAID | st.lists(PARTS, min_size=1, max_size=3)
    ),
    st.builds(
        lambda content, calls: {"role": "assistant", "content": content, "tool_calls": calls},
        SAID,
        st.lists(CALLED, min_size=1, max_size=3),
    ),
    st.builds(lambda content: {"role": "assistant", "content": content}, SAID),
    st.builds(
        lambda number, content: {"role": "tool", "tool_call_id": f"call_{number}", "content": content},
        st.integers(0, 99),
        SAID | st.lists(PARTS, min_size=1, max_size=2),
    ),
)


@given(
    messages=st.lists(MESSAGES, max_size=8),
    stop=st.none() | st.lists(st.sampled_from(["END", "\n\nHuman:"]), min_size=1, max_size=2),
    limit=st.none() | st.integers(1, 9999),
    user=st.none() | SAID,
    stream=st.booleans(),
)
def test_nothing_that_both_formats_have_is_lost(
    messages: list[Json], stop: list[str] | None, limit: int | None, user: str | None, stream: bool
) -> None:
    messages = [*messages, USER]
    given_ = {"messages": messages, "stop": stop, "max_tokens": limit, "user": user, "stream": stream}
    body = sent(given_)
    accepted(body)
    assert body["max_tokens"] == (limit or 32_000)
    assert body.get("stop_sequences") == stop
    assert body.get("metadata") == ({"user_id": user} if user else None)
    assert body.get("stream", False) == stream
    roles = [message["role"] for message in body["messages"]]
    assert all(one != other for one, other in pairwise(roles)), "turns alternate"
    system = body.get("system", [])
    told = [{"type": "text", "text": system}] if isinstance(system, str) else system
    assert [block["text"] for block in told] == [
        message["content"] for message in messages if message["role"] in ("system", "developer")
    ]
    for side in ("user", "assistant"):
        assert sorted(back(body["messages"], side)) == sorted(asked(messages, side))


def asked(messages: list[Json], side: str) -> list[str]:
    """Everything that one side says in OpenAI's form, as comparable lines."""
    lines: list[str] = []
    for message in messages:
        role = message["role"]
        if role == "tool" and side == "user":
            lines.append(f"result {message['tool_call_id']} {part_lines(message['content'])}")
        elif role == side:
            lines += part_lines(message["content"])
            lines += [
                f"call {call['id']} {call['function']['name']} {call['function']['arguments']}"
                for call in message.get("tool_calls", ())
            ]
    return lines


def part_lines(content: Any) -> list[str]:
    if isinstance(content, str):
        return [f"text {content}"]
    return [
        f"text {part['text']}" if part["type"] == "text" else f"image {part['image_url']['url']}"
        for part in content
    ]


def back(turns: list[Json], side: str) -> list[str]:
    """The same lines, read from Anthropic's form."""
    lines: list[str] = []
    for turn in turns:
        if turn["role"] == side:
            lines += block_lines(turn["content"])
    return lines


def block_lines(content: Any) -> list[str]:
    if isinstance(content, str):
        return [f"text {content}"]
    lines = []
    for block in content:
        match block:
            case {"type": "text", "text": words}:
                lines.append(f"text {words}")
            case {"type": "image", "source": {"type": "url", "url": url}}:
                lines.append(f"image {url}")
            case {"type": "image", "source": {"media_type": kind, "data": base64}}:
                lines.append(f"image data:{kind};base64,{base64}")
            case {"type": "tool_use", "id": number, "name": name, "input": value}:
                lines.append(f"call {number} {name} {json_of(value)}")
            case {"type": "tool_result", "tool_use_id": number, "content": inner}:
                lines.append(f"result {number} {block_lines(inner)}")
    return lines
