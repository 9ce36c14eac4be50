"""Numbers for names, so that entries and sums stay small. A name keeps its number for ever."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import IntEnum

from sqlalchemy import Connection, bindparam, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from headgate.store.schema_ledger import terms

NOTHING = 0
"""The number of the empty name."""
_AT_ONCE = 300
"""Names in one statement: SQLite of old takes 999 parameters."""


class Term(IntEnum):
    """What a name names."""

    KEY = 1
    TEAM = 2
    MODEL = 3
    TARGET = 4
    """`UPSTREAM/MODEL`, with the name that the model has there."""
    ENDPOINT = 5
    TAG = 6
    TAGS = 7
    """A set of tags, as a JSON list in order."""


Name = tuple[int, str]
"""A Term and its text. A plain number, for members of an enumeration are slow to hash."""


def look_up(connection: Connection, names: Collection[Name]) -> dict[Name, int]:
    """The numbers of those names that have one; the empty name has 0."""
    found = {name: NOTHING for name in names if not name[1]}
    wanted = [(int(kind), text) for kind, text in names if text]
    for start in range(0, len(wanted), _AT_ONCE):
        query = select(terms).where(tuple_(terms.c.kind, terms.c.text).in_(wanted[start : start + _AT_ONCE]))
        found |= {(row.kind, row.text): row.number for row in connection.execute(query)}
    return found


def number(connection: Connection, names: Collection[Name]) -> dict[Name, int]:
    """The number of every name, made where there is none yet."""
    found = look_up(connection, names)
    if new := sorted({name for name in names if name not in found}):
        _make(connection, new)
        found |= look_up(connection, new)
    return found


def names_of(connection: Connection, numbers: Iterable[int]) -> dict[int, str]:
    """The names behind numbers; 0 is the empty name."""
    wanted = sorted(set(numbers) - {NOTHING})
    found = {NOTHING: ""}
    for start in range(0, len(wanted), _AT_ONCE):
        query = select(terms.c.number, terms.c.text).where(
            terms.c.number.in_(wanted[start : start + _AT_ONCE])
        )
        found |= {row.number: row.text for row in connection.execute(query)}
    return found


def _make(connection: Connection, names: Sequence[Name]) -> None:
    # Another process may make the same name at the same moment: whoever is second takes the first one's.
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(terms).values(kind=bindparam("kind"), text=bindparam("text"))
    connection.execute(
        insert.on_conflict_do_nothing(), [{"kind": int(kind), "text": text} for kind, text in names]
    )
