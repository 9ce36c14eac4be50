"""docs/cli.md and the command line say the same: every command, option, variable and default, both ways."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from headgate.cli import commands
from headgate.engines import embed, image, llamacpp, speech, transcribe
from tests.structure.pages import read, rows, section

PAGE = read("cli.md")


def every_command(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Commands with something to run, by their whole name."""
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield name, command
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from every_command(child, f"{name} {child.name}")


COMMANDS = dict(every_command(commands, "headgate"))
COMMANDS["headgate engine llamacpp"] = llamacpp.command
COMMANDS["headgate engine embed"] = embed.command
COMMANDS["headgate engine speech"] = speech.command
COMMANDS["headgate engine transcribe"] = transcribe.command
COMMANDS["headgate engine image"] = image.command
"""An engine is a program of its own: `headgate engine` hands it the rest of the line."""


def options(command: click.Command) -> list[click.Option]:
    """What a person may type; hidden options are between programs."""
    return [
        parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
    ]


def default(command: click.Command, option: click.Option) -> str:
    """What the page should say under `default`."""
    if option.required:
        return "required"
    in_help = re.search(r"\[default: (.+?)\]", option.help or "")
    if in_help:
        return f"`{in_help[1]}`"
    if option.is_flag:
        return "off"
    value = option.get_default(click.Context(command))
    return f"`{value}`" if isinstance(value, str | int) else "none"


@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_a_command_is_documented_as_it_is(name: str, command: click.Command) -> None:
    table = rows(section(PAGE, f"`{name}`"))
    assert table.keys() == {option.opts[0] for option in options(command)}
    for option in options(command):
        *middle, meaning = table[option.opts[0]][1:]
        assert meaning, "says nothing about what it is for"
        if len(middle) == 2:
            assert middle[0] == (f"`{option.envvar}`" if option.envvar else "")
        if middle:
            assert middle[-1] == default(command, option)


def test_nothing_is_documented_that_is_not_there() -> None:
    assert set(re.findall(r"^## `(.+)`$", PAGE, re.MULTILINE)) == COMMANDS.keys()
