"""Random JSON Schemas, and a small judge of values: the other side of every test of a grammar."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]

_NAMES = st.text(alphabet='ab"\\é\n ', min_size=1, max_size=3)
_VALUES = st.none() | st.booleans() | st.integers(-5, 5) | _NAMES
_COUNTS = st.integers(0, 4)


def _both(draw: Any, least: str, most: str) -> Schema:
    low, high = sorted((draw(_COUNTS), draw(_COUNTS)))
    return {least: low, most: high} if draw(st.booleans()) else {}


@st.composite
def _leaves(draw: Any) -> Schema:
    match draw(
        st.sampled_from(["string", "format", "integer", "number", "boolean", "null", "enum", "const", "any"])
    ):
        case "string":
            return {"type": "string", **_both(draw, "minLength", "maxLength")}
        case "format":
            return {"type": "string", "format": draw(st.sampled_from(["date", "time", "date-time", "uuid"]))}
        case "integer":
            low, high = sorted((draw(st.integers(-999, 999)), draw(st.integers(-999, 999))))
            bounds = {"minimum": low, "maximum": high}
            return {"type": "integer", **{name: bounds[name] for name in bounds if draw(st.booleans())}}
        case "enum":
            return {"enum": draw(st.lists(_VALUES, min_size=1, max_size=4))}
        case "const":
            return {"const": draw(_VALUES)}
        case "any":
            return {}
        case kind:
            return {"type": kind}


@st.composite
def _objects(draw: Any, inner: st.SearchStrategy[Schema]) -> Schema:
    properties = draw(st.dictionaries(_NAMES, inner, max_size=4))
    required = [name for name in properties if draw(st.booleans())]
    return {"type": "object", "properties": properties, "required": required}


@st.composite
def _arrays(draw: Any, inner: st.SearchStrategy[Schema]) -> Schema:
    if draw(st.booleans()):
        return {"type": "array", "prefixItems": draw(st.lists(inner, min_size=1, max_size=3))}
    return {"type": "array", "items": draw(inner), **_both(draw, "minItems", "maxItems")}


def _compounds(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return (
        _objects(inner)
        | _arrays(inner)
        | st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3))
        | st.builds(lambda value: {"type": "object", "additionalProperties": value}, inner)
    )


SCHEMAS = st.recursive(_leaves(), _compounds, max_leaves=6)
"""Schemas of which every keyword can be enforced."""

OBJECT_SCHEMAS = _objects(SCHEMAS)

NONSENSE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.just("#/$defs/a")
    | st.just("object"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "required",
                    "items",
                    "prefixItems",
                    "anyOf",
                    "oneOf",
                    "allOf",
                    "$ref",
                    "$defs",
                    "a",
                    "enum",
                    "const",
                    "minLength",
                    "maxLength",
                    "minItems",
                    "maxItems",
                    "minimum",
                    "exclusiveMaximum",
                    "pattern",
                    "format",
                    "additionalProperties",
                    "not",
                    "title",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)
"""What a client may send as a schema."""

_FORMATS = {
    "date": r"\d{4}-\d\d-\d\d",
    "time": r"\d\d:\d\d:\d\d(\.\d{3})?(Z|[+-]\d\d:\d\d)",
    "date-time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?(Z|[+-]\d\d:\d\d)",
    "uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
}


def valid(value: Any, schema: Schema, root: Schema | None = None) -> bool:  # noqa: PLR0911 (a table)
    """Whether a value satisfies a schema, as far as schemas of this file go."""
    root = schema if root is None else root
    if "$ref" in schema:
        return valid(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    if "anyOf" in schema:
        return any(valid(value, option, root) for option in schema["anyOf"])
    if "enum" in schema:
        return any(_same(value, option) for option in schema["enum"])
    if "const" in schema:
        return _same(value, schema["const"])
    match schema.get("type"):
        case "string":
            return isinstance(value, str) and _string(value, schema)
        case "integer":
            return _integer(value) and schema.get("minimum", value) <= value <= schema.get("maximum", value)
        case "number":
            return _integer(value) or isinstance(value, float)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "array":
            return isinstance(value, list) and _array(value, schema, root)
        case "object":
            return isinstance(value, dict) and _object(value, schema, root)
    return True


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _string(value: str, schema: Schema) -> bool:
    form = schema.get("format")
    if form is not None:
        return re.fullmatch(_FORMATS[form], value) is not None
    return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)))


def _array(value: list[Any], schema: Schema, root: Schema) -> bool:
    first = schema.get("prefixItems")
    if first is not None:
        return len(value) == len(first) and all(map(lambda item, each: valid(item, each, root), value, first))
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return False
    return all(valid(item, schema.get("items", {}), root) for item in value)


def _object(value: dict[str, Any], schema: Schema, root: Schema) -> bool:
    properties = schema.get("properties", {})
    if not set(schema.get("required", ())) <= value.keys():
        return False
    rest = schema.get("additionalProperties", {})
    for name, member in value.items():
        if name in properties:
            if not valid(member, properties[name], root):
                return False
        elif rest is False or not valid(member, {} if rest is True else rest, root):
            return False
    return True
