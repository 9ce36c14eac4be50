"""JSON's kinds of value, named as OpenAI's error messages name them."""

from __future__ import annotations

STRING = "a string"
INTEGER = "an integer"
DECIMAL = "a decimal number"
BOOLEAN = "a boolean"
NULL = "null"
ARRAY = "an array"
OBJECT = "an object"

_BY_CLASS: dict[type, str] = {
    str: STRING,
    int: INTEGER,
    float: DECIMAL,
    bool: BOOLEAN,
    type(None): NULL,
    list: ARRAY,
    dict: OBJECT,
}

_BY_FIRST_BYTE = {ord('"'): STRING, ord("t"): BOOLEAN, ord("f"): BOOLEAN, ord("n"): NULL}
_BY_FIRST_BYTE |= {ord("["): ARRAY, ord("{"): OBJECT}


def kind_of_value(value: object) -> str:
    """The kind of a decoded value, with its article."""
    return _BY_CLASS[value.__class__]


def kind_of_text(text: bytes) -> str:
    """The kind of one well-formed JSON value, with its article."""
    kind = _BY_FIRST_BYTE.get(text[0])
    if kind is not None:
        return kind
    return DECIMAL if any(sign in text for sign in b".eE") else INTEGER
