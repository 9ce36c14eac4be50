"""Messages in the conventions' words: roles with parts, streams put together, and never an exception."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from headgate.telemetry.content import MOST_CHARACTERS, answered_messages, asked_messages


def test_a_conversation_with_tools_and_pictures() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    asked = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What?"}, picture]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
        ],
    }
    assert json.loads(asked_messages(json.dumps(asked).encode())) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "What?"}, {"type": "image_url"}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "look", "arguments": '{"a":1}'}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "a cat"}]},
    ]


def test_prompts_and_inputs_are_the_users() -> None:
    assert json.loads(asked_messages(b'{"prompt":["a","b"]}')) == [
        {"role": "user", "parts": [{"type": "text", "content": "a"}]},
        {"role": "user", "parts": [{"type": "text", "content": "b"}]},
    ]
    assert asked_messages(b'{"input":[1,2,3]}') == ""


def test_a_whole_answer() -> None:
    reply = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]
    }
    pieces = [json.dumps(reply).encode()[:10], json.dumps(reply).encode()[10:]]
    assert json.loads(answered_messages(pieces, stream=False)) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Hi"}], "finish_reason": "stop"}
    ]


def test_a_stream_is_put_together_choice_by_choice() -> None:
    deltas = [
        (0, {"role": "assistant", "content": ""}, None),
        (1, {"content": "Y"}, None),
        (0, {"reasoning_content": "hm"}, None),
        (0, {"content": "He"}, None),
        (0, {"content": "y"}, None),
        (0, {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}]}, None),
        (0, {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}, None),
        (0, {}, "tool_calls"),
        (1, {}, "stop"),
    ]
    events = [
        b"data: "
        + json.dumps({"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}).encode()
        + b"\n\n"
        for index, delta, reason in deltas
    ]
    said = json.loads(answered_messages([b": waiting\n\n", *events, b"data: [DONE]\n\n"], stream=True))
    assert said[0]["parts"] == [
        {"type": "reasoning", "content": "hm"},
        {"type": "text", "content": "Hey"},
        {"type": "tool_call", "id": "c", "name": "f", "arguments": "{}"},
    ]
    assert [one["finish_reason"] for one in said] == ["tool_calls", "stop"]
    assert said[1]["parts"] == [{"type": "text", "content": "Y"}]


def test_a_long_text_is_cut() -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "x" * 10**6}]}).encode()
    assert len(asked_messages(body)) < MOST_CHARACTERS + 100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["messages", "choices", "delta", "content", "role", "tool_calls", "function"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(
    st.fixed_dictionaries(
        {"messages": st.lists(st.dictionaries(st.sampled_from(["content", "tool_calls"]), JSON))}
    )
    | st.fixed_dictionaries(
        {"choices": st.lists(st.dictionaries(st.sampled_from(["delta", "message"]), JSON))}
    )
    | JSON,
    st.booleans(),
)
def test_odd_bodies_are_left_out_without_a_word(odd: object, stream: bool) -> None:
    body = json.dumps(odd).encode()
    assert isinstance(asked_messages(body), str)
    assert isinstance(answered_messages([b"data: " + body + b"\n\n" if stream else body], stream=stream), str)


@given(st.binary())
def test_bytes_that_are_no_json(data: bytes) -> None:
    assert isinstance(asked_messages(data), str)
    assert isinstance(answered_messages([data], stream=True), str)
    assert isinstance(answered_messages([data], stream=False), str)
