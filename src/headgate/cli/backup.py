"""`headgate backup`: a copy of what must not be lost, taken while the gate runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from headgate.cli.options import data_folder, data_option


@click.command("backup")
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@data_option
def command(target: Path, data: Path | None) -> None:
    """Copy database, journal and keys into the folder TARGET, while the gate runs or not.

    The copy is a data folder: to restore it, give it to `serve` as `--data`. With PostgreSQL the database is
    copied by pg_dump, before this.
    """
    from headgate.core.errors import StoreError
    from headgate.store.backup import back_up
    from headgate.store.database import place

    folder = data_folder(data)
    if not folder.is_dir():
        raise StoreError(f"there is no data folder {folder}")
    where = place(folder, os.environ.get("HEADGATE_DATABASE_URL"))
    copied = back_up(where, target.absolute())
    click.echo(f"{copied.folder}")
    if where.file is None:
        click.echo("  database: not copied; run pg_dump before this command, and keep both together")
    else:
        click.echo(f"  database: {copied.database_bytes:,} bytes")
    click.echo(f"  journal: {copied.segments} files")
    click.echo(f"  keys: {', '.join(copied.files) or 'none'}")
