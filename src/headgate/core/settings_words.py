"""What a setting's type is in words, for messages: read off the annotations in `settings`."""

from __future__ import annotations

import difflib
import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from headgate.core.secret import MaybeSecret, Secret
from headgate.core.settings import File, FileOrFolder, Settings
from headgate.core.settings_routing import Model, ModelTarget
from headgate.core.toml_lines import Path

REFERENCE = '{ env = "NAME" } or { file = "PATH" }'
"""How a configuration speaks of a secret."""
_WORDS: dict[Any, str] = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    File: "a path",
    FileOrFolder: "a path",
    Model: "a model's name, or { name = ..., upstream_name = ... }",
    ModelTarget: "a table: { upstream = ... }",
    Secret: REFERENCE,
    MaybeSecret: f"a string, {REFERENCE}",
}


def field_path(path: Path) -> str:
    """A path as an operator reads it: `upstream[0].models[1].name`, `aliases."gpt-3.5-turbo"`."""
    words = ""
    for step in path:
        if isinstance(step, int):
            words += f"[{step}]"
        else:
            words += f".{step}" if re.fullmatch(r"[A-Za-z0-9_-]+", step) else f".{_quoted(step)}"
    return words.removeprefix(".")


def _quoted(key: str) -> str:
    return msgspec.json.encode(key).decode()


def type_at(path: Path) -> Any:
    """The annotation that rules a path of the configuration."""
    found: Any = Settings
    for step in path:
        found = _bare(found)
        if isinstance(step, int):
            found = get_args(found)[0]
        elif get_origin(found) is dict:
            found = get_args(found)[1]
        else:
            found = next(field.type for field in msgspec.structs.fields(found) if field.encode_name == step)
    return found


def describe(kind: Any) -> str:
    """What is expected of a value of this type."""
    description, low, high = None, None, None
    kind = _without_none(kind)
    if get_origin(kind) is Annotated:
        for meta in kind.__metadata__:
            description, low, high = meta.description or description, meta.ge, meta.le
    kind = _bare(kind)
    if description:
        return str(description)
    if low is not None:
        return f"an integer from {low} to {high}"
    if get_origin(kind) is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(kind))
    if get_origin(kind) is tuple:
        (entry, *_) = get_args(kind)
        return f"a list of {'strings' if entry is str else 'tables'}"
    return _WORDS.get(kind, "a table")


def unknown_field(name: str, kind: Any) -> str:
    """Says that a table has no such field, which one may be meant, and which there are."""
    known = [field.encode_name for field in msgspec.structs.fields(_bare(kind))]
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean `{near[0]}`? " if near else ""
    return f"unknown field; {guess}Known here: {', '.join(known)}"


def _bare(kind: Any) -> Any:
    """Without Annotated, and without the None of an optional field."""
    while True:
        if get_origin(kind) is Annotated:
            kind = kind.__origin__
        elif get_origin(kind) in (Union, types.UnionType):
            kind = _without_none(kind)
        else:
            return kind


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        return next(choice for choice in get_args(kind) if choice is not type(None))
    return kind
