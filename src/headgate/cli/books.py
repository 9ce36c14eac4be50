"""What the commands about keys, teams, prices and usage share: the database, and how they tell what is in it.

They work on the database itself, whether a gate runs or not; a running one sees a change within a second.
"""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from headgate.cli.options import data_folder, data_option

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from headgate.store.database import Database

Command = TypeVar("Command", bound=Callable[..., Any])


def told(command: Command) -> Command:
    """The options of a command that tells something."""
    for option in (click.option("--json", "as_json", is_flag=True, help="JSON for scripts."), data_option):
        command = option(command)
    return command


@contextmanager
def books(data: Path | None) -> Iterator[Database]:
    """The database of a data folder, or of HEADGATE_DATABASE_URL; its schema is this version's."""
    from headgate.store.database import Database, place
    from headgate.store.folder import make_private
    from headgate.store.migrate import migrate

    folder = data_folder(data)
    make_private(folder)
    database = Database(place(folder, os.environ.get("HEADGATE_DATABASE_URL")))
    try:
        migrate(database)
        yield database
    finally:
        database.close()


@contextmanager
def changing(data: Path | None, action: str, kind: str, object_id: str = "") -> Iterator[Change]:
    """A transaction that changes something, and notes that it was done from a shell."""
    from headgate.store.audit import note

    with books(data) as database, database.writing() as connection:
        change = Change(connection, object_id)
        yield change
        actor = f"{_user()} (shell)"
        note(connection, actor, action, kind, change.object_id, detail=change.detail, now_ms=now_ms())


class Change:
    """What a command changes."""

    def __init__(self, connection: Connection, object_id: str) -> None:
        self.connection = connection
        self.object_id = object_id
        self.detail: dict[str, Any] = {}
        """For the audit log; no secret."""


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def show(records: Sequence[Any], columns: Iterable[str], *, as_json: bool) -> None:
    """Records as a table for people, or as JSON."""
    plain = [msgspec.to_builtins(record) for record in records]
    if as_json:
        click.echo(json.dumps(plain, indent=2, ensure_ascii=False))
        return
    names = list(columns)
    lines = [[name.replace("_", " ") for name in names]]
    lines += [[_cell(record.get(name)) for name in names] for record in plain]
    widths = [max(len(line[place]) for line in lines) for place in range(len(names))]
    for line in lines:
        words = [word.ljust(width) for word, width in zip(line, widths, strict=True)]
        click.echo("  ".join(words).rstrip())


def dollars(nanodollars: int) -> str:
    """An amount for people: `12.345678901`, without zeros at its end but for cents."""
    whole, rest = divmod(abs(nanodollars), 1_000_000_000)
    digits = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nanodollars < 0 else ''}{whole}.{digits}"


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, list | tuple | dict | str) and not value):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={inner}" for name, inner in value.items() if inner not in (None, [], {}))
    # A name may hold what a terminal obeys.
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in a container's list
        return str(os.getuid())
