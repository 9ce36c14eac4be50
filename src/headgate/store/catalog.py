"""Upstreams, models and aliases that were made in the database, beside those of the configuration file.

Their settings are in the file's own words and checked by `core`; this module keeps them.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Table, delete, insert, select, update

from headgate.core.errors import RecordMissing, RecordRefused
from headgate.store import rules
from headgate.store.changes import CATALOG, raise_version
from headgate.store.page import to_columns, to_record
from headgate.store.records import Alias, Model, Upstream
from headgate.store.schema_catalog import aliases, models, upstreams

Named = TypeVar("Named", Upstream, Model, Alias)

_TABLES: dict[type[Any], Table] = {Upstream: upstreams, Model: models, Alias: aliases}
_WORDS: dict[type[Any], str] = {Upstream: "upstream", Model: "model", Alias: "alias"}


def create(connection: Connection, record: Named, *, now_ms: int) -> Named:
    """Adds one; raises RecordRefused when the name is taken."""
    kind = type(record)
    made = msgspec.structs.replace(
        record, name=rules.text(record.name, "name", 256, needed=True), created_ms=now_ms
    )
    table = _TABLES[kind]
    if connection.execute(select(table.c.name).where(table.c.name == made.name)).first() is not None:
        raise RecordRefused(f"name: there is an {_WORDS[kind]} of this name already")
    version = raise_version(connection, CATALOG)
    connection.execute(insert(table).values(**to_columns(made), changed=version))
    return made


def change(connection: Connection, kind: type[Named], name: str, /, **changes: Any) -> Named:
    """Replaces fields of one; raises RecordMissing, RecordRefused."""
    if {"name", "created_ms"} & changes.keys():
        raise RecordRefused("name: make another one instead; the journal knows this one by its name")
    after = msgspec.structs.replace(get(connection, kind, name), **changes)
    version = raise_version(connection, CATALOG)
    table = _TABLES[kind]
    connection.execute(update(table).where(table.c.name == name).values(**to_columns(after), changed=version))
    return after


def remove(connection: Connection, kind: type[Named], name: str) -> None:
    """Takes one away; raises RecordMissing."""
    table = _TABLES[kind]
    if connection.execute(delete(table).where(table.c.name == name)).rowcount == 0:
        raise RecordMissing(f"there is no such {_WORDS[kind]}")
    raise_version(connection, CATALOG)


def get(connection: Connection, kind: type[Named], name: str) -> Named:
    """One by its name; raises RecordMissing."""
    table = _TABLES[kind]
    row = connection.execute(select(table).where(table.c.name == name)).mappings().one_or_none()
    if row is None:
        raise RecordMissing(f"there is no such {_WORDS[kind]}")
    return to_record(kind, row)


def every(connection: Connection, kind: type[Named]) -> list[Named]:
    """All of them, in the order of their names."""
    table = _TABLES[kind]
    return [
        to_record(kind, row) for row in connection.execute(select(table).order_by(table.c.name)).mappings()
    ]
