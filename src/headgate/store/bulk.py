"""Many rows in one statement, as each database takes them fastest. Must not know what the rows mean.

SQLite: prepared once, stepped for every row. PostgreSQL: a column as one array, all in one round trip. Values
are bound in both; only names of our own tables stand in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from sqlalchemy import BigInteger, Column, Connection, Integer, SmallInteger, Table

LARGEST = 2**63 - 1
"""What a column holds."""

Rows = Sequence[Sequence[int | str]]
"""Values in the order of the table's columns."""


def insert_new(connection: Connection, table: Table, rows: Rows) -> int:
    """Inserts the rows that are not there yet, by primary key; returns how many that were."""
    return _run(connection, table, rows, adding=False)


def add_to(connection: Connection, table: Table, rows: Rows) -> None:
    """Adds to rows by primary key, column by column; a row that is not there begins with these values.

    No value may be below zero. A sum stays at the largest number: counts that an upstream made up must not
    stop the ledger for good.
    """
    _run(connection, table, rows, adding=True)


def _run(connection: Connection, table: Table, rows: Rows, *, adding: bool) -> int:
    if not rows:
        return 0
    statement = _statement(table, connection.dialect.name, adding)
    if connection.dialect.name != "postgresql":
        return connection.exec_driver_sql(statement, rows).rowcount
    arrays = tuple(
        _text_array(values) if _type(column) == "text" else f"{{{','.join(map(str, values))}}}"
        for column, values in zip(table.columns, zip(*rows, strict=True), strict=True)
    )
    return connection.exec_driver_sql(statement, arrays).rowcount


@cache
def _statement(table: Table, dialect: str, adding: bool) -> str:
    columns = list(table.columns)
    into = f"INSERT INTO {table.name} ({', '.join(map(_name, columns))})"
    if dialect == "postgresql":
        source = f"SELECT * FROM unnest({', '.join(f'%s::{_type(column)}[]' for column in columns)})"
    else:
        source = f"VALUES ({', '.join('?' * len(columns))})"
    if not adding:
        return f"{into} {source} ON CONFLICT DO NOTHING"
    keys = ", ".join(map(_name, table.primary_key.columns))
    sums = [_name(column) for column in columns if not column.primary_key]
    added = ", ".join(
        f"{name} = CASE WHEN {table.name}.{name} > {LARGEST} - excluded.{name} THEN {LARGEST} "
        f"ELSE {table.name}.{name} + excluded.{name} END"
        for name in sums
    )
    return f"{into} {source} ON CONFLICT ({keys}) DO UPDATE SET {added}"


def _text_array(values: Sequence[int | str]) -> str:
    quoted = (str(value).replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


def _type(column: Column[object]) -> str:
    if isinstance(column.type, SmallInteger):
        return "smallint"
    if isinstance(column.type, BigInteger):
        return "bigint"
    return "integer" if isinstance(column.type, Integer) else "text"


def _name(column: Column[object]) -> str:
    return f'"{column.name}"'
