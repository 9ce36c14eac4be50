"""Usage as upstreams report it, in OpenAI's types and in others, becomes counts that can be added up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.tap import whole_usage
from headgate.core.usage import Source, Usage, UsageObject, odd_usage

FULL = {
    "prompt_tokens": 11,
    "completion_tokens": 22,
    "total_tokens": 33,
    "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 5, "accepted_prediction_tokens": 0},
}


def decoded(value: dict[str, Any]) -> Usage:
    return msgspec.json.decode(msgspec.json.encode(value), type=UsageObject).counted()


@pytest.mark.parametrize(
    ("value", "usage"),
    [
        (FULL, Usage(Source.REPORTED, 11, 3, 22, 5)),
        ({}, Usage(Source.REPORTED)),
        ({"prompt_tokens": 4, "completion_tokens": None}, Usage(Source.REPORTED, 4)),
        ({"completion_tokens": 4, "prompt_tokens_details": None}, Usage(Source.REPORTED, 0, 0, 4)),
        ({"prompt_tokens_details": {}, "completion_tokens_details": {}}, Usage(Source.REPORTED)),
        ({"prompt_tokens": -5, "completion_tokens": 2}, Usage(Source.REPORTED, 0, 0, 2)),
        ({"prompt_tokens": 2**63, "completion_tokens": 2}, Usage(Source.REPORTED, 0, 0, 2)),
    ],
)
def test_reported_usage_is_counted(value: dict[str, Any], usage: Usage) -> None:
    assert decoded(value) == usage
    assert odd_usage(msgspec.json.encode(value)) == usage


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (b'{"prompt_tokens": 7.0, "completion_tokens": 2.0}', Usage(Source.REPORTED, 7, 0, 2)),
        (b'{"prompt_tokens": "7", "completion_tokens": 2}', Usage(Source.REPORTED, 0, 0, 2)),
        (b'{"prompt_tokens": 7, "prompt_tokens_details": "none"}', Usage(Source.REPORTED, 7)),
        (b'{"prompt_tokens": 7, "completion_tokens_details": [1]}', Usage(Source.REPORTED, 7)),
        (b'{"prompt_tokens_details": {"cached_tokens": 1.5}}', Usage(Source.REPORTED, 0, 1)),
        (b"null", None),
        (b"[1]", None),
        (b'"12"', None),
    ],
)
def test_odd_usage_is_counted_as_far_as_it_can_be_read(raw: bytes, usage: Usage | None) -> None:
    assert odd_usage(raw) == usage


def test_what_a_dialect_estimated_is_not_taken_for_reported() -> None:
    body = b'{"usage": {"prompt_tokens": 7, "estimated": true}}'
    assert whole_usage(body, 0) == Usage(Source.ESTIMATED, 7)
    assert whole_usage(body.replace(b"true", b"false"), 0).source is Source.REPORTED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*FULL, "x"]), json_values))
def test_no_usage_breaks_the_count(value: dict[str, Any]) -> None:
    usage = odd_usage(msgspec.json.encode(value))
    assert usage is not None
    counts = msgspec.structs.astuple(usage)[1:]
    assert all(type(count) is int and 0 <= count < 2**63 for count in counts)


def test_kinds_of_tokens_that_have_prices_of_their_own_are_counted() -> None:
    raw = b"""{"prompt_tokens": 10, "completion_tokens": 20,
        "prompt_tokens_details":
        {"cached_tokens": 1, "cache_write_tokens": 2, "audio_tokens": 3, "image_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 6, "image_tokens": 7}}"""
    expected = Usage(Source.REPORTED, 10, 1, 20, 5, 2, 3, 4, 6, 7)
    assert msgspec.json.decode(raw, type=UsageObject).counted() == odd_usage(raw) == expected


def test_pictures_and_sounds_are_counted_in_their_own_words() -> None:
    picture = b'{"input_tokens": 9, "output_tokens": 8, "input_tokens_details": {"image_tokens": 7}}'
    expected = Usage(Source.REPORTED, 9, 0, 8, input_image_tokens=7)
    assert msgspec.json.decode(picture, type=UsageObject).counted() == odd_usage(picture) == expected
    sound = b'{"type": "duration", "seconds": 8.2}'
    assert msgspec.json.decode(sound, type=UsageObject).counted() == Usage(Source.REPORTED, seconds=9)
