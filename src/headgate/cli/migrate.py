"""`headgate migrate`: brings the database to this version's schema."""

from __future__ import annotations

import os
from pathlib import Path

import click

from headgate.cli.options import data_folder, data_option


@click.command("migrate")
@data_option
def command(data: Path | None) -> None:
    """Bring the database to the schema of this version.

    `serve` does it too when it starts; this is for whoever wants it done, or seen to fail, before.
    """
    from headgate.store.database import Database, place
    from headgate.store.folder import make_private
    from headgate.store.migrate import HEAD, migrate

    folder = data_folder(data)
    make_private(folder)
    database = Database(place(folder, os.environ.get("HEADGATE_DATABASE_URL")))
    try:
        before = migrate(database)
    finally:
        database.close()
    where = database.place.file or "PostgreSQL"
    if before == HEAD:
        click.echo(f"{where}: schema {HEAD}, nothing to do")
    else:
        click.echo(f"{where}: schema {HEAD} (before: {before or 'none'})")
