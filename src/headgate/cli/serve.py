"""`headgate serve`: opens the gate. Knows the composition root and the greeting, nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.greeting import greeting
from headgate.cli.options import data_folder, places, read_sources
from headgate.core.errors import SettingsError

if TYPE_CHECKING:
    from headgate.app import Announcement


@click.command("serve")
@places
@click.option("--workers", type=click.IntRange(1), default=1, help="Processes; one is all there can be yet.")
def command(workers: int, data: Path | None, **options: Any) -> None:
    """Open the gate.

    Without a configuration it serves the starter model, so that the samples of the reference page run.
    """
    if workers > 1:
        raise SettingsError(
            f"--workers {workers} needs shared counters (Redis/Valkey), which this version does not have; "
            "one process serves thousands of requests a second"
        )
    from headgate.app import serve as open_gate
    from headgate.configuration import load
    from headgate.telemetry.log import configure as configure_log

    sources = read_sources(**options)
    settings = load(sources)
    configure_log(settings.log)

    def announce(announcement: Announcement) -> None:
        click.echo(greeting(settings, announcement))

    open_gate(
        settings,
        data_folder(data),
        os.environ.get("HEADGATE_MASTER_KEY") or None,
        database_url=os.environ.get("HEADGATE_DATABASE_URL") or None,
        announce=announce,
        reload=lambda: load(sources),
    )
