"""Settings that are kept in the database, by name. What they mean is their reader's to know."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from headgate.store import rules
from headgate.store.changes import SETTINGS, raise_version
from headgate.store.schema_catalog import settings


def put_setting(connection: Connection, name: str, value: Any) -> None:
    """Keeps a value that JSON can hold."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    values = {"value": msgspec.json.encode(value).decode(), "changed": raise_version(connection, SETTINGS)}
    row = dialect.insert(settings).values(name=rules.name(name), **values)
    connection.execute(row.on_conflict_do_update(index_elements=["name"], set_=values))


def get_setting(connection: Connection, name: str) -> Any:
    """A value; None where nothing is kept."""
    found = connection.execute(select(settings.c.value).where(settings.c.name == name)).scalar()
    return None if found is None else msgspec.json.decode(found)


def drop_setting(connection: Connection, name: str) -> None:
    """Forgets a value, if there is one."""
    if connection.execute(delete(settings).where(settings.c.name == name)).rowcount:
        raise_version(connection, SETTINGS)


def every_setting(connection: Connection) -> dict[str, Any]:
    """All of them."""
    return {row.name: msgspec.json.decode(row.value) for row in connection.execute(select(settings))}
