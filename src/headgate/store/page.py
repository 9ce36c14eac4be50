"""Pages of long lists: where one ended is in a cursor, so that what comes and goes meanwhile shifts nothing.

Rows become typed records here, and records columns; values that are no plain column are JSON texts.
"""

from __future__ import annotations

import base64
import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, literal, tuple_
from sqlalchemy.types import TypeEngine

from headgate.core.errors import RecordRefused

MOST = 1000
"""Rows on one page: a reply of a few hundred kilobytes."""

Record = TypeVar("Record", bound=msgspec.Struct)
_PLAIN = (str, int, bool, bytes)


class Page(msgspec.Struct, Generic[Record], frozen=True):
    """Some of a list."""

    items: tuple[Record, ...]
    next_cursor: str | None
    """Gives the page that follows; None at the end."""


def page_of(
    connection: Connection,
    query: Select[Any],
    order: Sequence[ColumnElement[Any]],
    kind: type[Record],
    *,
    limit: int,
    cursor: str | None,
    newest_first: bool = False,
) -> Page[Record]:
    """One page of a query in the order of columns that are unique together. Raises RecordRefused."""
    limit = min(max(limit, 1), MOST)
    if cursor:
        values = _open_cursor(cursor, [column.type for column in order])
        place = tuple_(*order)
        bound = tuple_(*(literal(value, column.type) for value, column in zip(values, order, strict=True)))
        query = query.where(place < bound if newest_first else place > bound)
    query = query.order_by(*(column.desc() if newest_first else column.asc() for column in order))
    rows = connection.execute(query.limit(limit + 1)).mappings().all()
    more = len(rows) > limit
    last = rows[limit - 1] if more else None
    next_cursor = make_cursor([last[str(column.key)] for column in order]) if last is not None else None
    return Page(tuple(to_record(kind, row) for row in rows[:limit]), next_cursor)


def make_cursor(values: Sequence[int | str]) -> str:
    """Where a page ended, as text for a URL."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(list(values))).decode().rstrip("=")


def read_cursor(cursor: str, kind: type[Any]) -> Any:
    """What `make_cursor` was given; raises RecordRefused for a text that it did not make."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.msgpack.decode(packed, type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise RecordRefused("the cursor is not one that was given out here") from None


def like(text: str) -> str:
    """A pattern for LIKE, escaped by a backslash, that finds the text anywhere, its wildcards as letters."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def to_record(kind: type[Record], row: Mapping[Any, Any]) -> Record:
    """A record from a row whose columns have the names of its fields."""
    values = {}
    for name, decoder in _decoders(kind).items():
        value = row[name]
        values[name] = decoder.decode(value) if decoder is not None and value is not None else value
    return kind(**values)


def to_columns(record: msgspec.Struct, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The columns of a record, or of some of its fields."""
    decoders = _decoders(type(record))
    columns = {}
    for name in names if names is not None else decoders:
        value = getattr(record, name)
        if decoders[name] is not None and value is not None:
            value = msgspec.json.encode(value).decode()
        columns[name] = value
    return columns


@cache
def _decoders(kind: type[msgspec.Struct]) -> dict[str, msgspec.json.Decoder[Any] | None]:
    """For each field a decoder; None where the column holds the value itself."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        name: None if _is_plain(hints[name]) else msgspec.json.Decoder(hints[name])
        for name in kind.__struct_fields__
    }


def _is_plain(hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return all(choice is type(None) or _is_plain(choice) for choice in get_args(hint))
    literals = getattr(hint, "__value__", hint)
    if get_origin(literals) is not None and str(get_origin(literals)) == "typing.Literal":
        return True
    return isinstance(hint, type) and issubclass(hint, _PLAIN)


def _open_cursor(cursor: str, kinds: Sequence[TypeEngine[Any]]) -> list[Any]:
    values = read_cursor(cursor, list[int | str])
    expected = [kind.python_type for kind in kinds]
    if len(values) != len(expected) or any(
        type(value) is not kind for value, kind in zip(values, expected, strict=True)
    ):
        raise RecordRefused("the cursor belongs to another list")
    return list(values)
