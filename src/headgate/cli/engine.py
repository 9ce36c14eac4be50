"""`headgate engine`: runs one engine alone. Each engine reads its own words; only the one named is loaded."""

from __future__ import annotations

import sys
from importlib import import_module

import click

ENGINES = {"llamacpp": "headgate.engines.llamacpp"}
"""Engines by name, and the module whose `main(arguments)` runs each and returns its exit code."""


@click.command("engine", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", type=click.Choice(tuple(ENGINES)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(name: str, arguments: tuple[str, ...]) -> None:
    """Run one engine alone, without the gate.

    What follows its NAME is the engine's own: `headgate engine llamacpp --help`.
    """
    sys.exit(import_module(ENGINES[name]).main(list(arguments)))
