"""Every sort of type that a request may declare, and the sentence for a value that does not fit it."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core import json_kinds
from headgate.core.body import open_body
from headgate.core.errors import InvalidField
from headgate.core.explain import explain


class Inner(msgspec.Struct):
    value: int
    renamed: str | None = msgspec.field(default=None, name="in")


class Request(msgspec.Struct):
    tokens: list[list[int]] | None = None
    size: Annotated[int, msgspec.Meta(ge=-5, le=5)] | Annotated[str, msgspec.Meta(max_length=3)] | None = None
    speed: Annotated[float, msgspec.Meta(ge=0.25, le=4)] | None = None
    inner: Inner | None = None
    inners: list[Inner | str] | None = None
    flags: list[bool] | None = None
    anything: list[msgspec.Raw] | None = None
    word: Annotated[str, msgspec.Meta(min_length=1)] | None = None


def refused(body: bytes) -> InvalidField:
    with pytest.raises(InvalidField) as caught:
        open_body(body, Request)
    return caught.value


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b'{"tokens":7}', "tokens", "expected an array of arrays, but got an integer instead."),
        (b'{"tokens":[[1],2]}', "tokens[1]", "expected an array of integers, but got an integer instead."),
        (b'{"tokens":[[1],[2,"3"]]}', "tokens[1][1]", "expected an integer, but got a string instead."),
        (b'{"size":1.5}', "size", "expected one of an integer or string, but got a decimal number instead."),
        (b'{"size":1e3}', "size", "expected one of an integer or string, but got a decimal number instead."),
        (b'{"speed":true}', "speed", "expected a decimal, but got a boolean instead."),
        (b'{"inner":[]}', "inner", "expected an object, but got an array instead."),
        (b'{"inner":{"value":null}}', "inner.value", "expected an integer, but got null instead."),
        (b'{"inner":{"value":1,"in":{}}}', "inner.in", "expected a string, but got an object instead."),
        (
            b'{"inners":[ "a" , {"value":"b"}]}',
            "inners[1].value",
            "expected an integer, but got a string instead.",
        ),
        (
            b'{"inners":["a",1]}',
            "inners[1]",
            "expected one of an object or string, but got an integer instead.",
        ),
        (b'{"inners":7}', "inners", "expected an array, but got an integer instead."),
        (b'{"flags":{}}', "flags", "expected an array of booleans, but got an object instead."),
        (b'{"anything":"x"}', "anything", "expected an array, but got a string instead."),
    ],
)
def test_a_wrong_type_is_named(body: bytes, param: str, words: str) -> None:
    error = refused(body)
    assert error.message == f"Invalid type for '{param}': {words}"
    assert (error.param, error.code) == (param, "invalid_type")


@pytest.mark.parametrize(
    ("body", "param", "code", "words"),
    [
        (
            b'{"size":-6}',
            "size",
            "integer_below_min_value",
            "Invalid 'size': integer below minimum value. Expected a value >= -5, but got -6 instead.",
        ),
        (
            b'{"size":"four"}',
            "size",
            "string_above_max_length",
            (
                "Invalid 'size': string too long. Expected a string with maximum length 3, "
                "but got a string with length 4 instead."
            ),
        ),
        (
            b'{"speed":0.20}',
            "speed",
            "decimal_below_min_value",
            "Invalid 'speed': decimal below minimum value. Expected a value >= 0.25, but got 0.20 instead.",
        ),
        (
            b'{"speed":5}',
            "speed",
            "decimal_above_max_value",
            "Invalid 'speed': decimal above maximum value. Expected a value <= 4, but got 5 instead.",
        ),
        (
            b'{"speed":-1e999}',
            "speed",
            "decimal_below_min_value",
            "Invalid 'speed': decimal below minimum value. Expected a value >= 0.25, but got -1e999 instead.",
        ),
        (
            b'{"word":""}',
            "word",
            "empty_string",
            (
                "Invalid 'word': empty string. Expected a string with minimum length 1, "
                "but got an empty string instead."
            ),
        ),
        (
            b'{"inner":{"in":"x"}}',
            "inner.value",
            "missing_required_parameter",
            "Missing required parameter: 'inner.value'.",
        ),
        (
            b'{"inners":[{"value":1},{}]}',
            "inners[1].value",
            "missing_required_parameter",
            "Missing required parameter: 'inners[1].value'.",
        ),
        (
            b'{"inner":{"value":"x"},"inner":{"value":1}}',
            "inner.value",
            "invalid_value",
            "Invalid value for 'inner.value'.",
        ),
        (
            b'{"inner":{"value":"x"},"inner":null}',
            "inner.value",
            "invalid_value",
            "Invalid value for 'inner.value'.",
        ),
        (
            b'{"tokens":[[1],["x"]],"tokens":[]}',
            "tokens[1][0]",
            "invalid_value",
            "Invalid value for 'tokens[1][0]'.",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_named(body: bytes, param: str, code: str, words: str) -> None:
    error = refused(body)
    assert error.message == words
    assert (error.param, error.code) == (param, code)


@settings(deadline=None)
@given(st.integers(min_value=6) | st.integers(max_value=-6))
def test_an_integer_of_any_length_falls_on_its_side(number: int) -> None:
    error = refused(b'{"size":%d}' % number)
    assert error.code == ("integer_above_max_value" if number > 0 else "integer_below_min_value")


@pytest.mark.parametrize("digits", [64, 4_300, 100_000])
@pytest.mark.parametrize("sign", [b"", b"-"])
def test_an_endless_integer_is_refused_like_any_other(sign: bytes, digits: int) -> None:
    error = refused(b'{"size":%s%s}' % (sign, b"9" * digits))
    assert error.code == ("integer_below_min_value" if sign else "integer_above_max_value")
    assert len(error.message) < 200


def test_what_only_the_typed_decoder_finds_too_deep_is_told_so() -> None:
    error = explain(b'{"size":1}', Request, RecursionError())
    assert error.message == "The JSON body of your request is nested too deeply."


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b'"1"', json_kinds.STRING),
        (b"-1", json_kinds.INTEGER),
        (b"0", json_kinds.INTEGER),
        (b"1.0", json_kinds.DECIMAL),
        (b"1e3", json_kinds.DECIMAL),
        (b"1E3", json_kinds.DECIMAL),
        (b"true", json_kinds.BOOLEAN),
        (b"false", json_kinds.BOOLEAN),
        (b"null", json_kinds.NULL),
        (b"[]", json_kinds.ARRAY),
        (b"{}", json_kinds.OBJECT),
    ],
)
def test_a_kind_is_told_from_its_text(value: bytes, kind: str) -> None:
    assert json_kinds.kind_of(value) == kind
