"""What importers of other gateways' configurations have in common: a draft of ours, written as TOML.

No key is ever in the text: it refers to an environment variable or to a file, and what such a key was is told
apart. Pure; whoever calls it writes files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from headgate.core.settings_rules import CREDENTIALS

Table = dict[str, Any]

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
NAME_CHARACTERS = 64
"""The longest name of an upstream."""


class Variable(msgspec.Struct, frozen=True):
    """A value that stays in the environment."""

    name: str


class Secret:
    """A value that stood in the other configuration, which is never written into ours."""

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        """As an environment variable's."""
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return f"Secret({self.name})"


class Model(msgspec.Struct):
    """An entry of an upstream's `models`."""

    name: str
    upstream_name: str | None = None
    traits: Table = {}
    """Priority, weight, and what else is said of it here."""

    def written(self) -> Any:
        """As the file has it."""
        table: Table = {"name": self.name}
        if self.upstream_name not in (None, self.name):
            table["upstream_name"] = self.upstream_name
        table |= self.traits
        return self.name if len(table) == 1 else table


class Upstream(msgspec.Struct):
    """A `[[upstream]]`."""

    name: str
    settings: Table
    """All of its settings but name and models, in the order of the file."""
    models: list[Model] = []


class Draft:
    """A configuration in the making."""

    def __init__(self) -> None:
        self.upstreams: list[Upstream] = []
        self.models: list[Table] = []
        """`[[model]]` tables."""
        self.aliases: dict[str, str] = {}
        self.routing: Table = {}
        self.notes: list[str] = []
        """What could not be carried over, in words; no secret is in them."""
        self._names: set[str] = set()

    def note(self, words: str) -> None:
        """Says once that something could not be carried over."""
        if words not in self.notes:
            self.notes.append(words)

    def place(self, wanted: str, settings: Table, model: Model) -> Upstream:
        """Adds a model to the upstream with these settings, or to a new one: no name stands twice in one."""
        for upstream in self.upstreams:
            taken = any(other.name == model.name for other in upstream.models)
            if upstream.settings == settings and not taken:
                upstream.models.append(model)
                return upstream
        upstream = Upstream(self.name(wanted), settings, [model])
        self.upstreams.append(upstream)
        return upstream

    def name(self, wanted: str) -> str:
        """A name for an upstream that no other has."""
        plain = (
            _NOT_IN_A_NAME.sub("-", wanted).strip("._-")[: NAME_CHARACTERS - 4].rstrip("._-") or "upstream"
        )
        name, number = plain, 1
        while name in self._names:
            number += 1
            name = f"{plain}-{number}"
        self._names.add(name)
        return name

    def secrets(self) -> list[Secret]:
        """Every secret once, each under a name of its own."""
        found: dict[Secret, Secret] = {}
        names: set[str] = set()
        for upstream in self.upstreams:
            for secret in _secrets_in(upstream.settings):
                if secret in found:
                    continue
                name, number = secret.name, 1
                while name in names:
                    number += 1
                    name = f"{secret.name}_{number}"
                names.add(name)
                secret.name = name
                found[secret] = secret
        return list(found)

    def toml(self, refer: Callable[[Secret], Table]) -> str:
        """The configuration; `refer` says where a secret is to be found, as `{"env": NAME}` does."""
        known = {secret: refer(secret) for secret in self.secrets()}
        lines: list[str] = []
        for upstream in self.upstreams:
            lines += ["[[upstream]]", f"name = {_text(upstream.name)}"]
            lines += [f"{name} = {_value(value, known)}" for name, value in upstream.settings.items()]
            lines += ["models = ["]
            lines += [f"    {_value(model.written(), known)}," for model in upstream.models]
            lines += ["]", ""]
        for model in self.models:
            lines += ["[[model]]", f"name = {_text(model['name'])}", "targets = ["]
            lines += [f"    {_value(target, known)}," for target in model["targets"]]
            lines += ["]", ""]
        if self.routing:
            lines += [
                "[routing]",
                *(f"{name} = {_value(value, known)}" for name, value in self.routing.items()),
                "",
            ]
        if self.aliases:
            lines += ["[aliases]", *(f"{_key(name)} = {_text(to)}" for name, to in self.aliases.items()), ""]
        return "\n".join(lines)


def secret_or_text(header: str, value: str, owner: str) -> str | Secret:
    """A header's value; one that carries a key is a secret."""
    if header.lower() in CREDENTIALS:
        return Secret(variable_name(owner, header), value)
    return value


def variable_name(*words: str) -> str:
    """An environment variable's name made of some words."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", "_".join(words)).strip("_").upper()
    return f"KEY_{name}" if not name or name[0].isdigit() else name


def _secrets_in(value: Any) -> Iterable[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _secrets_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _secrets_in(item)


def _value(value: Any, known: dict[Secret, Table]) -> str:
    match value:
        case Secret():
            return _value(known[value], known)
        case Variable(name=name):
            return f'{{ env = "{name}" }}'
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case list():
            return f"[{', '.join(_value(item, known) for item in value)}]"
        case dict():
            inside = ", ".join(f"{_key(name)} = {_value(item, known)}" for name, item in value.items())
            return f"{{ {inside} }}" if inside else "{}"
    return _text(str(value))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    # What JSON escapes, TOML escapes the same way; DEL alone it wants escaped besides.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
