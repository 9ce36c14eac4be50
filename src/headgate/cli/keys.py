"""`headgate keys`: the keys that open the gate, as far as a command line may touch them."""

from __future__ import annotations

import os
from pathlib import Path

import click

from headgate.cli.options import data_folder, data_option
from headgate.core.errors import SettingsError


@click.group("keys", no_args_is_help=False)
def command() -> None:
    """The keys that open the gate."""


@command.command()
@click.option("--rotate", is_flag=True, help="Make a new key, show it once, and let the old one go.")
@data_option
def master(rotate: bool, data: Path | None) -> None:
    """The operator's key.

    It is kept hashed, so it cannot be shown again: when it is lost, rotate it. A running gate takes the new
    one within a second.
    """
    if not rotate:
        raise click.UsageError("the key is kept hashed and cannot be shown; --rotate makes a new one")
    if os.environ.get("HEADGATE_MASTER_KEY"):
        raise SettingsError("HEADGATE_MASTER_KEY is set, and it is the operator's key then: change it there")
    from headgate.store import keys as store
    from headgate.store.folder import make_private

    folder = data_folder(data)
    make_private(folder)
    click.echo(store.rotate(folder))
