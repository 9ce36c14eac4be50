"""`headgate keys`: the keys that open the gate, as far as a command line may touch them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from headgate.cli.books import books, changing, now_ms, show, told
from headgate.cli.options import data_folder, data_option
from headgate.core.errors import SettingsError

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
COLUMNS = ("id", "name", "team_id", "shown", "models", "disabled", "limits", "owner")


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


@command.command("create")
@click.argument("name")
@click.option("--team", help="The id of its team.")
@click.option("--owner", help="Whom it is given to.")
@click.option("--model", multiple=True, help="A model that it may use, or a pattern (`*`); else all.")
@click.option("--scope", multiple=True, help="An endpoint that it may call; else all.")
@click.option("--expires-days", type=click.IntRange(1), help="How long it is good.")
@click.option("--requests-per-minute", type=click.IntRange(0), help="A limit.")
@click.option("--tokens-per-minute", type=click.IntRange(0), help="A limit.")
@told
def create(
    name: str, team: str | None, owner: str | None, data: Path | None, as_json: bool, **wishes: Any
) -> None:
    """Make a key, and show its secret once."""
    import json

    from headgate.core.limit import Limits
    from headgate.store import key_records
    from headgate.store.records import Key

    limits = Limits(
        requests_per_minute=wishes["requests_per_minute"], tokens_per_minute=wishes["tokens_per_minute"]
    )
    days = wishes["expires_days"]
    key = Key(
        id="",
        name=name,
        team_id=team,
        owner=owner or "",
        models=wishes["model"] or None,
        scopes=wishes["scope"] or None,
        expires_ms=now_ms() + days * DAY_MS if days else None,
        limits=limits,
    )
    with changing(data, "create", "key") as change:
        made, secret = key_records.create_key(change.connection, key, now_ms=now_ms())
        change.object_id, change.detail = made.id, {"name": name}
    click.echo(json.dumps({"id": made.id, "secret": secret}) if as_json else f"{made.id}  {secret}")


@command.command("list")
@click.option("--team", help="Only those of a team.")
@click.option("--search", help="Part of a name, an owner or a shown secret.")
@told
def list_(team: str | None, search: str | None, data: Path | None, as_json: bool) -> None:
    """List keys, without their secrets."""
    from headgate.store import key_records

    found: list[Any] = []
    cursor: str | None = None
    with books(data) as database, database.reading() as connection:
        while True:
            page = key_records.list_keys(
                connection, team_id=team, search=search or "", limit=1000, cursor=cursor
            )
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
    show(found, COLUMNS, as_json=as_json)


@command.command("disable")
@click.argument("key_id")
@click.option("--undo", is_flag=True, help="Let it open again.")
@data_option
def disable(key_id: str, undo: bool, data: Path | None) -> None:
    """Keep a key from opening, until it is let again."""
    from headgate.store import key_records

    with changing(data, "change", "key", key_id) as change:
        key_records.change_key(change.connection, key_id, disabled=not undo)
        change.detail = {"disabled": not undo}


@command.command("rotate")
@click.argument("key_id")
@click.option(
    "--grace-hours", type=click.IntRange(0, 8760), default=0, help="How long the old secret still opens."
)
@data_option
def rotate(key_id: str, grace_hours: int, data: Path | None) -> None:
    """Give a key a new secret, and show it once."""
    from headgate.store import key_records

    with changing(data, "rotate", "key", key_id) as change:
        grace_ms = grace_hours * HOUR_MS
        _, secret = key_records.rotate_key(change.connection, key_id, now_ms=now_ms(), grace_ms=grace_ms)
        change.detail = {"grace_ms": grace_ms}
    click.echo(secret)


@command.command("delete")
@click.argument("key_id")
@data_option
def delete(key_id: str, data: Path | None) -> None:
    """Close a key for good; what it used stays in the books."""
    from headgate.store import key_records

    with changing(data, "delete", "key", key_id) as change:
        key_records.delete_key(change.connection, key_id, now_ms=now_ms())
