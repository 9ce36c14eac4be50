"""Streams of typed events: usage put together from its parts, errors kept back, the end always seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.estimate import estimate_tokens
from headgate.core.sse import DONE, EventSplitter, events
from headgate.core.tap_events import KEPT_BYTES, EventTap
from headgate.core.usage import Source, Usage

Json = dict[str, Any]


def written(*told: Json) -> bytes:
    return b"".join([f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in told])


RESPONSES = written(
    {"type": "response.created", "response": {"id": "r", "usage": None, "error": None}},
    {"type": "response.output_text.delta", "delta": "Hello there, ", "sequence_number": 2},
    {"type": "response.output_text.delta", "delta": "world."},
    {
        "type": "response.completed",
        "response": {
            "id": "r",
            "usage": {
                "input_tokens": 20,
                "input_tokens_details": {"cached_tokens": 8},
                "output_tokens": 6,
                "output_tokens_details": {"reasoning_tokens": 2},
                "total_tokens": 26,
            },
        },
    },
)
MESSAGES = written(
    {
        "type": "message_start",
        "message": {
            "id": "m",
            "usage": {
                "input_tokens": 5,
                "cache_read_input_tokens": 10,
                "cache_creation_input_tokens": 3,
                "output_tokens": 1,
            },
        },
    },
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "Hello there, world."},
    },
    {"type": "ping"},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 6}},
    {"type": "message_stop"},
)
USED = {
    RESPONSES: Usage(Source.REPORTED, 20, 8, 6, 2),
    MESSAGES: Usage(Source.REPORTED, 18, 10, 6, 0, 3),
}


@pytest.mark.parametrize("stream", USED, ids=["responses", "messages"])
@given(data=st.data())
def test_any_cut_gives_the_same(stream: bytes, data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        told = stream.replace(b"\n", b"\r\n")
    else:
        told = stream
    cuts = sorted(data.draw(st.sets(st.integers(1, len(told) - 1), max_size=12)))
    tap, splitter, passed = EventTap(prompt_bytes=100), EventSplitter(), b""
    for start, end in zip([0, *cuts], [*cuts, len(told)], strict=True):
        passed += tap.scan(splitter.feed(told[start:end]))
    assert passed == told
    assert tap.done
    assert tap.finished
    assert tap.counted(complete=True) == USED[stream]
    assert tap.closing == b""


def test_what_breaks_off_is_estimated() -> None:
    tap = EventTap(prompt_bytes=400)
    tap.scan(RESPONSES[: RESPONSES.index(b"event: response.completed")])
    assert not tap.finished
    assert tap.counted(complete=False) == Usage(
        Source.PARTIAL, 100, 0, estimate_tokens("Hello there, world.")
    )
    tap = EventTap(prompt_bytes=400)
    tap.scan(MESSAGES[: MESSAGES.index(b"event: message_delta")])
    # What it read, a message says at its beginning; that it had made one token by then is no use.
    assert tap.counted(complete=False).input_tokens == 18


def test_a_long_stream_keeps_little() -> None:
    tap = EventTap(prompt_bytes=0)
    piece = written({"type": "response.output_text.delta", "delta": "word " * 20})
    for _ in range(2 * KEPT_BYTES // len(piece)):
        tap.scan(piece)
    assert len(b"".join(tap._kept)) <= KEPT_BYTES + len(piece)
    assert tap.counted(complete=False).output_tokens > 1000


def test_a_block_with_the_end_in_it_is_not_taken_for_one_with_nothing() -> None:
    """The relay passes a block that comes back as the same object on without another look."""
    for stream in USED:
        tap = EventTap(prompt_bytes=0)
        for event in events(stream):
            out = tap.scan(event)
            assert out == event
            assert not (tap.done and out is event)
        assert tap.done


def test_an_error_is_kept_back_and_ends_it() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "at 10.0.0.7"}}
    tap = EventTap(prompt_bytes=0)
    assert b"10.0.0.7" not in tap.scan(written({"type": "ping"}, error, {"type": "ping"}))
    assert tap.error is not None
    assert not tap.done


def test_odd_events_harm_nothing() -> None:
    tap = EventTap(prompt_bytes=0)
    for odd, passes in (
        (b": comment\n\n", True),
        (b'data: {"type": 7}\n\n', True),
        (b'data: {"usage": "none"}\n\n', True),
        (b'data: {"type": "x", "message": "text"}\n\n', True),
        (b"data: [1]\n\n", False),
        (b"data: {\n\n", False),
        (b"data: \xff\n\n", False),
        (DONE, False),
    ):
        assert tap.scan(odd) == (odd if passes else b"")
    assert tap.malformed == 3
    assert tap.scan(MESSAGES) == MESSAGES
    assert tap.scan(written({"type": "ping"})) == b""
