"""Turns what the decoder found wrong with a body into the error that OpenAI would answer.

This is the cold path: it reads the body again, down to the place that the decoder names, and judges that
value by its declared type. Must not know any particular request.
"""

from __future__ import annotations

import re
from functools import cache

import msgspec
from msgspec import inspect

from headgate.core import json_kinds, violation
from headgate.core.errors import ApiError

_PLACE = re.compile(r" - at (?:`key` in )?`\$(?P<path>[^`]*)`$")
_MISSING = re.compile(r"^Object missing required field `(?P<name>[^`]+)`")
_STEP = re.compile(r"\.(?P<name>\w+)|\[(?P<index>\d+)\]|(?P<any>\[\.\.\.\])")

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder(msgspec.Raw)
_text = msgspec.json.Decoder(str)


def explain(body: bytes, request_type: type[msgspec.Struct], error: Exception) -> ApiError:
    """The error for a body that could not be decoded as `request_type`; never raises."""
    try:
        body.decode()
        kind = json_kinds.kind_of(bytes(_any.decode(body)))
        if not isinstance(error, msgspec.ValidationError):
            return violation.too_deep() if isinstance(error, RecursionError) else violation.not_json()
        if kind != json_kinds.OBJECT:
            return violation.not_an_object(kind)
        return _judge(body, request_type, str(error))
    except RecursionError:
        return violation.too_deep()
    except (msgspec.MsgspecError, UnicodeError):
        return violation.not_json()


def _judge(body: bytes, request_type: type[msgspec.Struct], message: str) -> ApiError:
    place = _PLACE.search(message)
    path = place["path"] if place else ""
    param = path.removeprefix(".")
    absent = _MISSING.match(message)
    if absent:
        return violation.missing(f"{param}.{absent['name']}" if param else absent["name"])
    found = _walk(body, _type_info(request_type), path)
    return (found and _violation(param, *found)) or violation.wrong_value(param)


@cache
def _type_info(request_type: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(request_type)


def _walk(body: bytes, declared: inspect.Type, path: str) -> tuple[bytes, inspect.Type] | None:
    """The last value at the decoder's path, and its declared type; None where there is none."""
    value = body
    for step in _STEP.finditer(path):
        branch = _branch(declared, json_kinds.kind_of(value.lstrip()))
        if step["name"] is not None and isinstance(branch, inspect.StructType):
            inner = _object.decode(value).get(step["name"])
            field = next((field for field in branch.fields if field.encode_name == step["name"]), None)
            below = field.type if field else None
        elif step["index"] is not None and isinstance(branch, inspect.ListType):
            index = int(step["index"])
            inner = next(iter(_array.decode(value)[index : index + 1]), None)
            below = branch.item_type
        else:
            return None
        # The decoder may have met an earlier value of that name, of another shape than the last one.
        if inner is None or below is None:
            return None
        value, declared = bytes(inner), below
    return value, declared


def _options(declared: inspect.Type) -> tuple[inspect.Type, ...]:
    return declared.types if isinstance(declared, inspect.UnionType) else (declared,)


def _accepts(option: inspect.Type, kind: str) -> bool:
    if isinstance(option, inspect.FloatType):
        return kind in (json_kinds.INTEGER, json_kinds.DECIMAL)
    return _KINDS.get(type(option)) == kind


def _branch(declared: inspect.Type, kind: str) -> inspect.Type | None:
    return next((option for option in _options(declared) if _accepts(option, kind)), None)


_KINDS: dict[type[inspect.Type], str] = {
    inspect.StrType: json_kinds.STRING,
    inspect.IntType: json_kinds.INTEGER,
    inspect.BoolType: json_kinds.BOOLEAN,
    inspect.NoneType: json_kinds.NULL,
    inspect.ListType: json_kinds.ARRAY,
    inspect.StructType: json_kinds.OBJECT,
    inspect.DictType: json_kinds.OBJECT,
}


def _violation(param: str, value: bytes, declared: inspect.Type) -> ApiError | None:
    """What is wrong with a value; None when it is a good one that came after a bad one of the same name."""
    kind = json_kinds.kind_of(value)
    branch = _branch(declared, kind)
    if branch is None:
        return violation.wrong_type(param, _expected(declared), kind)
    if isinstance(branch, (inspect.IntType, inspect.FloatType)):
        return _out_of_range(param, value.decode(), branch)
    if isinstance(branch, inspect.StrType):
        return _bad_length(param, len(_text.decode(value)), branch)
    if isinstance(branch, inspect.ListType):
        return _bad_length(param, len(_array.decode(value)), branch)
    return None


def _out_of_range(param: str, text: str, declared: inspect.IntType | inspect.FloatType) -> ApiError | None:
    kind = "integer" if isinstance(declared, inspect.IntType) else "decimal"
    # A float cannot tell the ends of 64 bits from their neighbours; an int may not have thousands of digits.
    number = int(text) if isinstance(declared, inspect.IntType) and len(text) < 64 else float(text)
    if declared.ge is not None and number < declared.ge:
        return violation.below_minimum(param, kind, declared.ge, violation.quote(text))
    if declared.le is not None and number > declared.le:
        return violation.above_maximum(param, kind, declared.le, violation.quote(text))
    return None


def _bad_length(param: str, length: int, declared: inspect.StrType | inspect.ListType) -> ApiError | None:
    is_string = isinstance(declared, inspect.StrType)
    if declared.max_length is not None and length > declared.max_length:
        make = violation.string_too_long if is_string else violation.array_too_long
        return make(param, declared.max_length, length)
    if declared.min_length is not None and length == 0:
        return (violation.empty_string if is_string else violation.empty_array)(param, declared.min_length)
    return None


def _expected(declared: inspect.Type) -> str:
    """What a field takes, in words. That it may be null goes without saying, as it does at OpenAI."""
    words = [_words(option) for option in _options(declared) if not isinstance(option, inspect.NoneType)]
    article = "an" if words[0][0] in "aio" else "a"
    choice = "one of " if len(words) > 1 else ""
    return f"{choice}{article} {' or '.join(words)}"


def _words(option: inspect.Type) -> str:
    if isinstance(option, inspect.ListType):
        item = _word(option.item_type)
        return f"array of {item}s" if item else "array"
    return _word(option)


def _word(option: inspect.Type) -> str:
    """One word for a type; none where many types will do."""
    if isinstance(option, inspect.FloatType):
        return "decimal"
    return _KINDS.get(type(option), "").split(" ")[-1]
