"""JSON's kinds of value, named as OpenAI's error messages name them."""

from __future__ import annotations

STRING = "a string"
INTEGER = "an integer"
DECIMAL = "a decimal number"
BOOLEAN = "a boolean"
NULL = "null"
ARRAY = "an array"
OBJECT = "an object"

_BY_FIRST_BYTE = {
    ord('"'): STRING,
    ord("t"): BOOLEAN,
    ord("f"): BOOLEAN,
    ord("n"): NULL,
    ord("["): ARRAY,
    ord("{"): OBJECT,
}


def kind_of(value: bytes) -> str:
    """The kind of one well-formed JSON value without space around it, with its article."""
    kind = _BY_FIRST_BYTE.get(value[0])
    if kind is not None:
        return kind
    return DECIMAL if any(sign in value for sign in b".eE") else INTEGER
