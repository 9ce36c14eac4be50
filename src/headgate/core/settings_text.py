"""Turns configuration text into Settings, or says on which line and in which field it is wrong.

What must be asked of the world (a secret's value, a file's place) is asked of the caller.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, Protocol, get_args

import msgspec

from headgate.core.errors import SettingsError
from headgate.core.provider import Providers, fill_in
from headgate.core.secret import MaybeSecret, Secret
from headgate.core.settings import Engine, File, FileOrFolder, Settings
from headgate.core.settings_models import Wrong
from headgate.core.settings_rules import check, complete
from headgate.core.settings_words import describe, field_path, type_at, unknown_field
from headgate.core.toml_lines import Path, find_lines, line_of

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYNTAX_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_STEP = re.compile(r"\.(?P<name>\w+)|\[(?P<index>\d+)\]|\[(?P<any>\.\.\.)\]")


class Outside(Protocol):
    """What the text points to. Both raise ValueError with words for the operator, never with a secret."""

    def secret(self, kind: str, name: str) -> str:
        """The value of `kind` (`env` or `file`) `name`, as it stands there."""
        ...

    def file(self, path: str) -> str:
        """Where a path in the configuration leads."""
        ...

    def place(self, path: str) -> str:
        """The same where a folder will do."""
        ...


def parse(
    text: str,
    source: str,
    *,
    outside: Outside,
    starter: File | None = None,
    starters: Sequence[tuple[Engine, Sequence[str]]] = (),
    extra_engines: Sequence[Engine] = (),
    providers: Providers = MappingProxyType({}),
) -> Settings:
    """Reads a whole configuration; `source` is the file's name for messages.

    `starter` is the starter model's file where it is installed, `starters` are those for other endpoints with
    the aliases of each; `extra_engines` come from the command line;
    `providers` are the services that an upstream may name.
    Raises SettingsError (`source:line: field: what is wrong and what was expected`).
    """
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise SettingsError(f"{source}: lists or tables are nested too deeply") from None
    except ValueError as error:
        raise SettingsError(_syntax_message(source, text, str(error))) from None
    try:
        fill_in(document, providers, lambda variable: _is_set(variable, outside))
        settings = _convert(document, outside)
        settings = complete(settings, starter, extra_engines, starters)
        check(settings, starter_installed=starter is not None)
    except Wrong as wrong:
        line = line_of(find_lines(text), wrong.path)
        place = f"{source}:{line}" if line else source
        field = f" {field_path(wrong.path)}:" if wrong.path else ""
        raise SettingsError(f"{place}:{field} {wrong}") from None
    return settings


def _syntax_message(source: str, text: str, message: str) -> str:
    place = _SYNTAX_PLACE.search(message)
    if not place:
        return f"{source}: not TOML: {message}"
    line = place["line"] or text.count("\n") + 1
    column = f" (column {place['column']})" if place["column"] else ""
    words = message[: place.start()]
    return f"{source}:{line}: not TOML: {words[:1].lower()}{words[1:]}{column}"


def _is_set(variable: str, outside: Outside) -> bool:
    try:
        outside.secret("env", variable)
    except ValueError:
        return False
    return True


def _convert(document: dict[str, Any], outside: Outside) -> Settings:
    _spell_out_models(document)
    hook = _hook(outside)
    try:
        return msgspec.convert(document, Settings, dec_hook=hook)
    except msgspec.ValidationError as error:
        raise _explain(error, document, hook) from None


def _spell_out_models(document: dict[str, Any]) -> None:
    """`models = ["a"]` is short for `models = [{ name = "a" }]`."""
    upstreams = document.get("upstream")
    for upstream in upstreams if isinstance(upstreams, list) else ():
        models = upstream.get("models") if isinstance(upstream, dict) else None
        if isinstance(models, list):
            upstream["models"] = [{"name": model} if isinstance(model, str) else model for model in models]


Hook = Callable[[type, Any], Any]


def _hook(outside: Outside) -> Hook:
    def build(kind: type, value: Any) -> Any:
        if issubclass(kind, FileOrFolder):
            if not isinstance(value, str) or not value or "\0" in value:
                raise ValueError(f"expected {describe(File)}")
            return kind(outside.file(value) if kind is File else outside.place(value))
        if issubclass(kind, MaybeSecret) and isinstance(value, str):
            return MaybeSecret(value, origin="text")
        if issubclass(kind, Secret):
            return _refer(kind, value, outside)
        raise TypeError(kind)

    return build


def _refer(kind: type[Secret], value: Any, outside: Outside) -> Secret:
    if isinstance(value, str):
        # Not repeated: it is a key, and this message ends up in logs.
        raise ValueError(f"a key is never written into the configuration; expected {describe(kind)}")
    match value:
        case {"env": str(name), **rest} if not rest:
            if not _ENVIRONMENT_NAME.fullmatch(name):
                # Not repeated either: the key itself is easily put here by mistake.
                raise ValueError("`env` takes an environment variable's name: letters, digits and _")
            return kind(outside.secret("env", name), origin=f"env:{name}")
        case {"file": str(name), **rest} if not rest and name:
            return kind(outside.secret("file", name).strip(), origin=f"file:{name}")
    raise ValueError(f"expected {describe(kind)}")


def _explain(error: msgspec.ValidationError, document: dict[str, Any], hook: Hook) -> Wrong:
    message, _, place = str(error).partition(" - at `")
    path = _path(place.rstrip("`"), document, hook)
    if place.startswith("key` in "):
        expected = describe(get_args(type_at(path))[0])
        return Wrong((*path, _wrong_key(document, path, hook)), f"expected {expected} on the left")
    if isinstance(error.__cause__, ValueError):
        return Wrong(path, str(error.__cause__))
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", message, re.DOTALL):
        return Wrong((*path, unknown[1]), unknown_field(unknown[1], type_at(path)))
    if missing := re.fullmatch(r"Object missing required field `(.*)`", message):
        expected = describe(type_at((*path, missing[1])))
        return Wrong(path, f"`{missing[1]}` is missing: expected {expected}")
    expected = describe(type_at(path))
    return Wrong(path, f"expected {expected}, got {_shown(_value_at(document, path), path)}")


def _path(place: str, document: dict[str, Any], hook: Hook) -> Path:
    path: Path = ()
    for step in _STEP.finditer(place):
        if step["any"]:
            return (*path, _wrong_key(document, path, hook))
        path += (step["name"] or int(step["index"]),)
    return path


def _wrong_key(document: dict[str, Any], path: Path, hook: Hook) -> str:
    """Which key of the table at `path` is the wrong one: msgspec does not tell, so each is tried alone."""
    table = _value_at(document, path)
    for key in table:
        trial = copy.deepcopy(document)
        part = _value_at(trial, path)
        part.clear()
        part[key] = table[key]
        try:
            msgspec.convert(trial, Settings, dec_hook=hook)
        except msgspec.ValidationError:
            return str(key)
    raise AssertionError("a table that fails as a whole has an entry that fails alone")


def _value_at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


def _shown(value: Any, path: Path) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case str() if path[-1] in {"dialect", "kind"}:
            return f'"{value}"'
        case str():
            # Not repeated: anything may stand here by mistake, a key too.
            return "another string" if value else "an empty string"
        case list():
            return "a list" if value else "an empty list"
        case dict() if len(path) > 1 and path[0] == "aliases":
            return 'a table: a name with dots in it needs quotes, as in "gpt-3.5-turbo" = "..."'
        case dict():
            return "a table"
    return "a date or time"
