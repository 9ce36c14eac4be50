"""docs/configuration.md and the settings say the same: every name, default and range, both ways."""

from __future__ import annotations

import re
import tomllib
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
import pytest

from headgate.core.settings import Settings
from headgate.core.settings_kinds import Milliseconds
from headgate.core.settings_text import parse
from tests.structure.pages import AnyPlace, first_block, read, rows, section

PAGE = read("configuration.md")


def bare(kind: Any) -> Any:
    """A type without its ranges, and without the None of an optional one."""
    if get_origin(kind) is Annotated:
        return bare(kind.__origin__)
    if get_origin(kind) in (Union, types.UnionType):
        return bare(next(choice for choice in get_args(kind) if choice is not type(None)))
    return kind


def ranges(kind: Any) -> Iterator[int]:
    """The limits written into a type, outermost first."""
    if get_origin(kind) is Annotated:
        for meta in kind.__metadata__:
            yield from (limit for limit in (meta.ge, meta.le) if limit is not None)
        yield from ranges(kind.__origin__)
    elif get_origin(kind) in (Union, types.UnionType):
        for choice in get_args(kind):
            yield from ranges(choice)


def sections(struct: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct] | None]:
    """Heading of every table, and what it holds; None for a free table such as [aliases]."""
    found: dict[str, type[msgspec.Struct] | None] = {}
    for field in msgspec.structs.fields(struct):
        kind = bare(field.type)
        if get_origin(kind) is dict:
            found[f"[{field.encode_name}]"] = None
        elif get_origin(kind) is tuple:
            entry = get_args(kind)[0]
            found[f"[[{field.encode_name}]]"] = entry
            for inner in msgspec.structs.fields(entry):
                if get_origin(bare(inner.type)) is tuple and issubclass(
                    get_args(bare(inner.type))[0], msgspec.Struct
                ):
                    found[f"[[{field.encode_name}]] {inner.encode_name}"] = get_args(bare(inner.type))[0]
        else:
            found[f"[{field.encode_name}]"] = kind
    return found


SECTIONS = sections(Settings)
FIELDS = [
    pytest.param(heading, field, id=f"{heading} {field.encode_name}")
    for heading, struct in SECTIONS.items()
    if struct is not None
    for field in msgspec.structs.fields(struct)
]


def documented(heading: str) -> dict[str, list[str]]:
    """The rows of a section's table: setting to its cells."""
    return rows(section(PAGE, f"`{heading}`"))


def shown(default: Any) -> str:
    """A default as the page writes it."""
    if default is None:
        return "none"
    return f"`{msgspec.json.encode(default).decode()}`"


@pytest.mark.parametrize(("heading", "field"), FIELDS)
def test_a_setting_is_documented_as_it_is(heading: str, field: msgspec.structs.FieldInfo) -> None:
    row = documented(heading).get(field.encode_name)
    assert row, "not documented"
    default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    assert row[2] == ("required" if default is msgspec.NODEFAULT else shown(default))
    assert row[3], "says nothing about what it is for"
    if Milliseconds in (field.type, *get_args(field.type)):
        assert row[1] == "a time"
    else:
        for limit in ranges(field.type):
            assert str(limit) in row[1], f"its range has {limit}"


def test_nothing_is_documented_that_is_not_there() -> None:
    headings = re.findall(r"^## `(.+)`$", PAGE, re.MULTILINE)
    assert sorted(headings) == sorted(SECTIONS)
    for heading, struct in SECTIONS.items():
        known = {field.encode_name for field in msgspec.structs.fields(struct)} if struct else set()
        assert documented(heading).keys() == known


def test_the_example_can_be_used() -> None:
    example = first_block(PAGE, "toml")
    settings = parse(example, "example.toml", outside=AnyPlace())
    assert {"server", "upstream", "engine", "aliases"} == tomllib.loads(example).keys()
    assert {"gpt-4o-mini", "fast", "org/some-model", "mine"} == settings.models().keys()
