"""`headgate engine`: runs one engine alone. Each engine reads its own words; only the one named is loaded."""

from __future__ import annotations

import sys
from importlib import import_module

import click

HOSTED = "headgate.hosting"
"""Runs the engines that are written in Python; takes the engine's name before its words."""

ENGINES = {
    "llamacpp": "headgate.engines.llamacpp",
    "embed": HOSTED,
    "speech": HOSTED,
    "transcribe": HOSTED,
    "image": HOSTED,
}
"""Engines by name, and the module whose `main(arguments)` runs each and returns its exit code."""


@click.command("engine", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", type=click.Choice(tuple(ENGINES)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(name: str, arguments: tuple[str, ...]) -> None:
    """Run one engine alone, without the gate.

    What follows its NAME is the engine's own: `headgate engine llamacpp --help`.
    """
    words = [name, *arguments] if ENGINES[name] == HOSTED else list(arguments)
    sys.exit(import_module(ENGINES[name]).main(words))
