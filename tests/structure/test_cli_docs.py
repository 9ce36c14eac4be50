"""docs/cli.md and the command line say the same: every command, option, variable and default, both ways."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from headgate.cli import commands
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


def options(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_a_command_is_documented_as_it_is(name: str, command: click.Command) -> None:
    table = rows(section(PAGE, f"`{name}`"))
    assert table.keys() == {option.opts[0] for option in options(command)}
    for option in options(command):
        cells = table[option.opts[0]]
        assert cells[-1], "says nothing about what it is for"
        if len(cells) == 4:
            assert cells[1] == (f"`{option.envvar}`" if option.envvar else "")
            in_help = re.search(r"\[default: (.+?)\]", option.help or "")
            if in_help:
                assert cells[2] == f"`{in_help[1]}`"


def test_nothing_is_documented_that_is_not_there() -> None:
    assert set(re.findall(r"^## `(.+)`$", PAGE, re.MULTILINE)) == COMMANDS.keys()
