"""What is left of a client's schema: all that a grammar enforces, and no more than compiles in no time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from headgate.core.errors import InvalidField
from headgate.dialects.json_schema import enforceable
from headgate.dialects.json_schema_rules import (
    CHOICES,
    DEFINITIONS,
    DEPTH,
    NODES,
    OPTIONAL,
    REPEATS,
    SPEAKS_OF,
    Budget,
)
from tests.dialects.schemas import NONSENSE, SCHEMAS

Schema = dict[str, Any]
FREE = {"type": "object", "additionalProperties": {}}


def read(schema: object, *, strict: bool = False) -> Schema:
    return enforceable(schema, "the.param", Budget(), strict=strict)


def member(schema: Schema) -> Schema:
    return {"type": "object", "properties": {"a": schema}, "required": ["a"]}


FREE_MEMBER = {"type": "object", "properties": {"a": {}}}

# What goes in, and what comes out; None where it is the same.
KEPT: list[tuple[object, Schema | None]] = [
    ({}, None),
    (True, {}),
    ({"type": "string"}, None),
    ({"type": ["string"]}, {"type": "string"}),
    ({"type": "object"}, FREE),
    (
        {"type": "object", "additionalProperties": False},
        {"type": "object", "properties": {}, "additionalProperties": False},
    ),
    (member({"type": "string"}), None),
    # Required members without a description may be anything; members nobody named are not written.
    ({"type": "object", "required": ["a"]}, member({})),
    ({**member({}), "additionalProperties": True}, {**member({}), "additionalProperties": False}),
    ({"properties": {"a": {}}, "required": ["a"]}, member({})),
    ({"type": "array"}, {"type": "array", "items": {}}),
    ({"items": [{"type": "null"}]}, {"type": "array", "prefixItems": [{"type": "null"}]}),
    (
        {"type": ["string", "null"], "maxLength": 3},
        {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
    ),
    ({"oneOf": [{"type": "null"}]}, {"anyOf": [{"type": "null"}]}),
    ({"const": {"a": [1]}}, None),
    ({"enum": ["a", None, 1.5], "type": "string"}, {"enum": ["a", None, 1.5]}),
    ({"type": "string", "format": "date"}, None),
    ({"type": "string", "format": "email"}, {"type": "string"}),
    ({"type": "integer", "minimum": 1, "maximum": 5}, None),
    (
        {"type": "integer", "minimum": 0.5, "exclusiveMaximum": 5},
        {"type": "integer", "minimum": 1, "maximum": 4},
    ),
    ({"type": "integer", "exclusiveMinimum": 0, "maximum": 10**30}, {"type": "integer", "minimum": 1}),
    (
        {"type": "string", "title": "T", "description": "D", "default": [1], "$comment": "x"},
        {"title": "T", "description": "D", "default": [1], "type": "string"},
    ),
    ({"allOf": [{"type": "integer"}], "minimum": 3}, {"type": "integer", "minimum": 3}),
    (
        {
            "allOf": [{"properties": {"a": {}}, "required": ["a"]}, {"$ref": "#/$defs/b"}],
            "$defs": {"b": {"properties": {"b": {}}}},
        },
        {
            "type": "object",
            "properties": {"a": {}, "b": {}},
            "required": ["a"],
        },
    ),
    (
        {"definitions": {"x y": {"type": "null"}}, "$ref": "#/definitions/x y"},
        {"$ref": "#/$defs/xy", "$defs": {"xy": {"type": "null"}}},
    ),
    (
        {"$defs": {"a~b/c": {"type": "null"}}, "$ref": "#/$defs/a~0b~1c"},
        {"$ref": "#/$defs/a0b1c", "$defs": {"a0b1c": {"type": "null"}}},
    ),
    (
        {"items": {"$ref": "#"}},
        {
            "type": "array",
            "items": {"$ref": "#/$defs/root"},
            "$defs": {"root": {"type": "array", "items": {"$ref": "#/$defs/root"}}},
        },
    ),
]


@pytest.mark.parametrize(("schema", "result"), KEPT)
def test_what_is_enforced_stays(schema: object, result: Schema | None) -> None:
    assert read(schema) == (schema if result is None else result)
    assert read(schema, strict=True) == (schema if result is None else result)


@pytest.mark.parametrize(
    ("schema", "rest"),
    [
        ({"type": "string", "pattern": "^a$"}, {"type": "string"}),
        ({"type": "string", "maxLength": REPEATS + 1}, {"type": "string"}),
        ({"type": "number", "minimum": 0}, {"type": "number"}),
        ({"type": "integer", "multipleOf": 7}, {"type": "integer"}),
        ({"type": "array", "items": {}, "uniqueItems": True}, {"type": "array", "items": {}}),
        ({"type": "array", "items": {}, "contains": {}}, {"type": "array", "items": {}}),
        ({"prefixItems": [{}], "minItems": 3}, {"type": "array", "prefixItems": [{}]}),
        ({"type": "object", "patternProperties": {"^a": {}}}, FREE),
        ({"type": "object", "minProperties": 1}, FREE),
        ({"type": "string", "not": {"const": "a"}}, {"type": "string"}),
        ({"if": {}, "then": {}}, {}),
        ({"anyOf": [{"type": "null"}], "minLength": 3}, {"anyOf": [{"type": "null"}]}),
        (
            {"properties": {"a": {}}, "anyOf": [{"required": ["a"]}]},
            {"type": "object", "properties": {"a": {}}},
        ),
        ({"allOf": [{"minLength": 1}, {"minLength": 2}]}, {"type": "string", "minLength": 1}),
    ],
)
def test_what_is_not_enforced_goes_or_is_refused(schema: Schema, rest: Schema) -> None:
    assert read(schema) == rest
    with pytest.raises(InvalidField, match="cannot be enforced here") as caught:
        read(schema, strict=True)
    assert (caught.value.param, caught.value.code) == ("the.param", "invalid_value")


def test_members_stay_in_the_client_s_order() -> None:
    text = {"description": "D", "type": "string"}
    schema: Schema = {"required": ["a"], "properties": {"a": text}, "type": "object"}
    assert json.dumps(read(schema)) == json.dumps(schema)
    other: Schema = {"properties": {"a": dict(reversed(text.items()))}, "type": "object", "required": ["a"]}
    assert json.dumps(read(other)) == json.dumps(other)


def test_every_keyword_is_either_kept_or_refused() -> None:
    """A keyword that is forgotten here would be ignored in silence."""
    given = {
        "properties": {},
        "required": [],
        "additionalProperties": False,
        "items": {},
        "prefixItems": [{}],
        "minItems": 1,
        "maxItems": 1,
        "minLength": 1,
        "maxLength": 1,
        "format": "date",
        "minimum": 1,
        "maximum": 1,
        "exclusiveMinimum": 1,
        "exclusiveMaximum": 3,
    }
    for kind, keywords in SPEAKS_OF.items():
        for keyword in keywords:
            schema = {"type": "integer" if kind == "number" else kind, keyword: given.get(keyword, {})}
            if keyword in given:
                assert len(read(schema, strict=True)) > 1
            else:
                with pytest.raises(InvalidField, match=f"'{keyword}' cannot be enforced"):
                    read(schema, strict=True)


def nested(levels: int) -> Schema:
    schema: Schema = {"type": "null"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def chain(count: int, made: Any) -> Schema:
    definitions = {f"d{index}": made(f"#/$defs/d{index + 1}") for index in range(count)}
    return {"$defs": {**definitions, f"d{count}": {"type": "null"}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (5, "a schema is an object"),
        (None, "a schema is an object"),
        (False, "no value can match false"),
        ({"type": "objekt"}, "unknown type 'objekt'"),
        ({"type": []}, "type must not be empty"),
        ({"type": 5}, "unknown type '5'"),
        ({"properties": []}, "properties must be an object"),
        ({"properties": {"a": 5}}, r"in \$\.properties\.a: a schema is an object"),
        ({"required": "a"}, "required must be an array of strings"),
        ({"enum": []}, "enum must be"),
        ({"anyOf": []}, "must be an array with a schema in it"),
        ({"minItems": -1, "type": "array"}, "minItems must be a whole number"),
        ({"minLength": True, "type": "string"}, "minLength must be a whole number"),
        ({"minLength": 1.5, "type": "string"}, "minLength must be a whole number"),
        # llama.cpp never returns from these three.
        ({"type": "array", "minItems": 5, "maxItems": 2}, "minItems is above maxItems"),
        ({"type": "string", "minLength": 5, "maxLength": 2}, "minLength is above maxLength"),
        ({"type": "integer", "minimum": 5, "maximum": 2}, "no integer lies between"),
        ({"type": "integer", "minimum": float("inf")}, "minimum must be a number"),
        ({"$ref": "http://127.0.0.1/x"}, r"\$ref must point into the same schema"),
        ({"$ref": 5}, r"\$ref must point into the same schema"),
        ({"$ref": "#/$defs/a"}, "points nowhere"),
        ({"$ref": "#"}, "refers to itself"),
        (
            {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
            "refers to itself",
        ),
        ({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {}]}}, "$ref": "#/$defs/a"}, "refers to itself"),
        (
            {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
            "nested deeper|array of schemas",
        ),
        (nested(DEPTH + 1), "nested deeper"),
        ({"prefixItems": [{}] * NODES}, "too many members"),
        ({"enum": list(range(CHOICES + 1))}, "too many choices"),
        ({"const": "x" * 100_001}, "too many characters"),
        ({"properties": {f"k{n}": {} for n in range(OPTIONAL + 1)}}, "properties that are not required"),
        (chain(DEFINITIONS + 1, lambda next_: {"items": {"$ref": next_}}), "definitions"),
        # 2**25 ways to begin took llama.cpp six seconds, in which it did nothing else.
        (
            chain(25, lambda next_: {"anyOf": [{"$ref": next_}, {"$ref": next_}]}),
            "alternatives for one value",
        ),
        (chain(DEPTH + 2, lambda next_: {"$ref": next_}), "references in a row"),
    ],
)
def test_what_is_no_schema_or_too_large_is_refused(schema: object, words: str) -> None:
    with pytest.raises(InvalidField, match=words) as caught:
        read(schema)
    assert caught.value.param == "the.param"


def test_limits_leave_room_for_what_people_write() -> None:
    read(nested(DEPTH))
    read(chain(DEFINITIONS - 1, lambda next_: {"items": {"$ref": next_}}))
    read({"properties": {f"k{n}": {"type": "string"} for n in range(OPTIONAL)}})
    read({"properties": {f"k{n}": {} for n in range(1900)}, "required": [f"k{n}" for n in range(1900)]})


def test_the_budget_is_one_for_all_schemas_of_a_request() -> None:
    budget = Budget()
    half: Schema = {"prefixItems": [{}] * (NODES // 2)}
    enforceable(half, "p", budget, strict=False)
    with pytest.raises(InvalidField, match="too many members"):
        enforceable(half, "p", budget, strict=False)


@given(NONSENSE)
def test_nonsense_is_read_or_refused(schema: object) -> None:
    for strict in (False, True):
        try:
            result = read(schema, strict=strict)
        except InvalidField:
            continue
        # What was made safe once stays as it is.
        assert read(result) == result


@given(SCHEMAS)
def test_what_can_be_enforced_is_never_refused(schema: Schema) -> None:
    assert read(schema, strict=True) == read(schema)
