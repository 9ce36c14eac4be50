"""Every field of OpenAI's published chat request, with every wrong type and every value out of range.

The cases are made from the published document (`chat_schema.json`): a field that our types forget fails here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headgate.core.body import open_body
from headgate.core.chat import ChatRequest
from headgate.core.errors import ErrorDetail, InvalidField

Schema = dict[str, Any]
DOCUMENT: Schema = json.loads((Path(__file__).parent / "chat_schema.json").read_text("utf-8"))
ABSENT = object()

SAMPLES: dict[str, tuple[object, str]] = {
    "string": ("x", "a string"),
    "integer": (1, "an integer"),
    "number": (0.5, "a decimal number"),
    "boolean": (True, "a boolean"),
    "array": ([], "an array"),
    "object": ({}, "an object"),
}

NEEDS: dict[str, Schema] = {
    "tool_choice": {"tools": [{"type": "function", "function": {"name": "f"}}]},
    "parallel_tool_calls": {"tools": [{"type": "function", "function": {"name": "f"}}]},
    "function_call": {"functions": [{"name": "f"}]},
    "top_logprobs": {"logprobs": True},
    "stream_options": {"stream": True},
}
"""Fields that are only allowed beside others."""

LENIENT = {
    # Observed at OpenAI, against its document: content may be missing, null or empty in every role.
    ("messages[0].content", "null"),
    ("messages[0].content", "missing"),
    ("messages[0].content", "empty"),
    # A function's reply may come in parts, as a tool's: roles share one type, since they are open.
    ("messages[0].content", "array"),
    # OpenAI takes 10.0, and typed clients send it.
    ("logit_bias.1", "number"),
}
"""Where we accept what the document refuses, and why."""


class Place(NamedTuple):
    """One place in a request: its path, how to build a request around a value, and what may stand there."""

    param: str
    make: Callable[[object], object]
    schema: Schema
    required: bool


def resolve(schema: Schema) -> Schema:
    while "$ref" in schema:
        schema = DOCUMENT["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if "allOf" in schema:
        merged: Schema = {"type": "object", "properties": {}, "required": []}
        for part in map(resolve, schema["allOf"]):
            merged["properties"] |= part.get("properties", {})
            merged["required"] += part.get("required", [])
        return merged
    return schema


def alternatives(schema: Schema) -> list[Schema]:
    """The schema as a list of schemas of one type each."""
    schema = resolve(schema)
    for word in ("oneOf", "anyOf"):
        if word in schema:
            return [each for option in schema[word] for each in alternatives(option)]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return [{**schema, "type": kind} for kind in kinds]


def smallest(schema: Schema) -> object:
    """A small valid value."""
    first = alternatives(schema)[0]
    if "enum" in first:
        return first["enum"][0]
    if first["type"] == "object":
        return {name: smallest(first["properties"][name]) for name in first.get("required", ())}
    if first["type"] == "array":
        return [smallest(first["items"])]
    return {"string": "x", "integer": 1, "number": 1, "boolean": True}[first["type"]]


def places(schema: Schema, *, required: bool = True) -> Iterator[Place]:
    yield Place("", lambda value: value, schema, required)
    for option in alternatives(schema):
        if option["type"] == "array":
            for inner in places(option["items"]):
                yield inner._replace(param=f"[0]{inner.param}", make=in_array(inner.make))
        elif option["type"] == "object":
            for name, member in members(option):
                for inner in places(member, required=name in option.get("required", ())):
                    make = in_object(inner.make, name, smallest(option))
                    yield inner._replace(param=f".{name}{inner.param}", make=make)


def in_array(make: Callable[[object], object]) -> Callable[[object], object]:
    return lambda value: [make(value)]


def in_object(make: Callable[[object], object], name: str, around: Any) -> Callable[[object], object]:
    return lambda value: {**around, name: make(value)}


def members(option: Schema) -> Iterator[tuple[str, Schema]]:
    yield from option.get("properties", {}).items()
    if isinstance(option.get("additionalProperties"), dict):
        yield "1", option["additionalProperties"]


PLACES = [place._replace(param=place.param[1:]) for place in places(DOCUMENT) if place.param]
EACH_PLACE = pytest.mark.parametrize(
    "place", [pytest.param(place, id=f"{index}-{place.param}") for index, place in enumerate(PLACES)]
)


def answer(place: Place, value: object) -> ErrorDetail | None:
    request = strip(place.make(value))
    top = place.param.split(".")[0].split("[")[0]
    body = json.dumps(NEEDS.get(top, {}) | request).encode()
    try:
        open_body(body, ChatRequest)
    except InvalidField as error:
        return error.detail()
    return None


def strip(value: Any) -> Any:
    """The value without members that are marked as absent."""
    if isinstance(value, dict):
        return {name: strip(member) for name, member in value.items() if member is not ABSENT}
    return [strip(member) for member in value] if isinstance(value, list) else value


def kinds(place: Place) -> set[str]:
    accepted = {option["type"] for option in alternatives(place.schema)}
    return accepted | {"integer"} if "number" in accepted else accepted


def test_the_document_was_read_to_its_depths() -> None:
    params = {place.param for place in PLACES}
    assert {
        "model",
        "seed",
        "messages[0].content[0].image_url.url",
        "tools[0].custom.format.grammar.syntax",
    } <= params
    assert len(PLACES) > 150


@EACH_PLACE
def test_a_valid_value_is_taken(place: Place) -> None:
    assert answer(place, smallest(place.schema)) is None


@EACH_PLACE
def test_a_wrong_type_is_named(place: Place) -> None:
    for kind, (value, words) in SAMPLES.items():
        if kind in kinds(place) or (place.param, kind) in LENIENT:
            continue
        detail = answer(place, value)
        assert detail is not None, kind
        assert (detail.type, detail.param, detail.code) == (
            "invalid_request_error",
            place.param,
            "invalid_type",
        )
        assert detail.message.startswith(f"Invalid type for '{place.param}': expected ")
        assert detail.message.endswith(f", but got {words} instead.")


@EACH_PLACE
def test_null_stands_for_absent_and_only_where_a_field_is_optional(place: Place) -> None:
    detail = answer(place, None)
    is_element = place.param.endswith("]")
    is_map_value = place.param in {"metadata.1", "logit_bias.1"}
    may_be_null = "null" in kinds(place) or (place.param, "null") in LENIENT
    if may_be_null or not (place.required or is_element or is_map_value):
        assert detail is None
    else:
        assert detail is not None
        assert detail.param == place.param
        assert detail.code in {"invalid_type", "missing_required_parameter"}


@EACH_PLACE
def test_a_required_field_is_missed(place: Place) -> None:
    if place.param.endswith("]") or not place.required or (place.param, "missing") in LENIENT:
        assert answer(place, ABSENT if not place.param.endswith("]") else smallest(place.schema)) is None
        return
    detail = answer(place, ABSENT)
    assert detail is not None
    assert detail.message == f"Missing required parameter: '{place.param}'."
    assert (detail.param, detail.code) == (place.param, "missing_required_parameter")


RANGES = [place for place in PLACES if {"minimum", "maximum"} & set(alternatives(place.schema)[0])]


@pytest.mark.parametrize("place", RANGES, ids=[place.param for place in RANGES])
def test_a_number_out_of_range_is_named_with_its_bound(place: Place) -> None:
    schema = alternatives(place.schema)[0]
    kind = {"integer": "integer", "number": "decimal"}[schema["type"]]
    # The document rounds the bounds of `seed` to sixteen digits; they are those of 64 bits.
    is_64_bits = abs(schema["minimum"]) > 2**62
    low, high = (-(2**63), 2**63 - 1) if is_64_bits else (schema["minimum"], schema["maximum"])
    assert answer(place, low) is None
    assert answer(place, high) is None
    below, above = answer(place, low - 1), answer(place, high + 1)
    assert below is not None
    assert above is not None
    assert (below.param, below.code) == (place.param, f"{kind}_below_min_value")
    assert (above.param, above.code) == (place.param, f"{kind}_above_max_value")
    assert below.message == (
        f"Invalid '{place.param}': {kind} below minimum value. "
        f"Expected a value >= {low}, but got {low - 1} instead."
    )
    assert above.message == (
        f"Invalid '{place.param}': {kind} above maximum value. "
        f"Expected a value <= {high}, but got {high + 1} instead."
    )


def sized(word: str) -> list[tuple[Place, int, Schema]]:
    return [
        (place, option[word], option)
        for place in PLACES
        for option in alternatives(place.schema)
        if word in option
    ]


@pytest.mark.parametrize(("place", "bound", "option"), sized("maxItems"))
def test_a_longer_array_is_refused(place: Place, bound: int, option: Schema) -> None:
    assert answer(place, [smallest(option["items"])] * bound) is None
    detail = answer(place, [smallest(option["items"])] * (bound + 1))
    assert detail is not None
    assert (detail.param, detail.code) == (place.param, "array_above_max_length")


@pytest.mark.parametrize(("place", "bound", "option"), sized("minItems"))
def test_an_empty_array_is_refused(place: Place, bound: int, option: Schema) -> None:
    assert bound == 1
    detail = answer(place, [])
    if (place.param, "empty") in LENIENT:
        assert detail is None
    else:
        assert detail is not None
        assert (detail.param, detail.code) == (place.param, "empty_array")


@pytest.mark.parametrize(("place", "bound", "option"), sized("maxLength"))
def test_a_longer_string_is_refused(place: Place, bound: int, option: Schema) -> None:
    assert answer(place, "é" * bound) is None
    detail = answer(place, "é" * (bound + 1))
    assert detail is not None
    assert (detail.param, detail.code) == (place.param, "string_above_max_length")


def test_the_document_has_bounds_of_every_sort() -> None:
    assert {place.param for place in RANGES} >= {
        "temperature",
        "n",
        "seed",
        "top_logprobs",
        "presence_penalty",
    }
    assert [place.param for place, *_ in sized("maxItems")] == ["stop", "functions"]
    assert "messages" in [place.param for place, *_ in sized("minItems")]
    assert [place.param for place, *_ in sized("maxLength")] == ["safety_identifier"]
