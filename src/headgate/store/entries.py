"""Entries themselves: listed, filtered by anything, added up for what roll-ups do not tell apart.

Only a bounded part of them is read for one answer, so that no question can stall the database.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, func, select, tuple_

from headgate.core.errors import RecordRefused
from headgate.core.ports import Outcome
from headgate.core.usage import Source, Usage
from headgate.store.calendar import HOUR_MS
from headgate.store.page import MOST, like, make_cursor, read_cursor
from headgate.store.reports import Sums
from headgate.store.rollup import Kind
from headgate.store.schema_ledger import MEASURES, USAGE_COLUMNS, entries, rollup_hours, terms
from headgate.store.terms import Term, look_up, names_of

SCANNED_AT_ONCE = 250_000
"""Entries read between two looks at the clock: a quarter of a second."""
LIST_S = 1.0
"""After so long a page ends, whatever it holds; its cursor goes on from there."""
SUMMED = 2_000_000
"""Most entries that one sum may read: two seconds on a small machine. More is what roll-ups are for."""
_GROUPS = 1000
"""Lines of one sum: those with the highest price."""

_NAMED = {
    "key": Term.KEY,
    "team": Term.TEAM,
    "model": Term.MODEL,
    "target": Term.TARGET,
    "endpoint": Term.ENDPOINT,
}


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries; what is not said does not matter."""

    from_ms: int
    to_ms: int
    key: str | None = None
    team: str | None = None
    model: str | None = None
    target: str | None = None
    endpoint: str | None = None
    tag: str | None = None
    user: str | None = None
    user_contains: str | None = None
    request_id: str | None = None
    outcome: Outcome | None = None
    source: Source | None = None
    status: int | None = None
    least_price_nanodollars: int | None = None
    least_duration_ms: int | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt."""

    started_ms: int
    instance: int
    attempt: int
    ended_ms: int
    request_id: str
    key: str
    team: str
    model: str
    target: str
    endpoint: str
    tags: tuple[str, ...]
    user: str
    outcome: Outcome
    status: int
    usage: Usage
    cost_nanodollars: int
    price_nanodollars: int


class Entries(msgspec.Struct, frozen=True):
    """Some entries, the newest first."""

    items: tuple[Entry, ...]
    next_cursor: str | None
    """Where to go on; there may be one although there are few items, or none: time was up."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One sum."""

    name: str
    sums: Sums


def list_entries(
    connection: Connection, wanted: Filter, *, limit: int = 100, cursor: str | None = None
) -> Entries:
    """Entries that fit, the newest first, as many as a second finds; RecordRefused for a bad cursor."""
    limit = min(max(limit, 1), MOST)
    place = read_cursor(cursor, tuple[int, int, int]) if cursor else (wanted.to_ms, 0, 0)
    condition = _condition(connection, wanted)
    if condition is None:
        return Entries((), None)
    order = (entries.c.started_ms, entries.c.instance, entries.c.attempt)
    found: list[RowMapping] = []
    end_s = time.monotonic() + LIST_S
    for from_ms, to_ms in _slices(connection, wanted, place[0]):
        query = select(entries).where(
            condition, entries.c.started_ms >= from_ms, entries.c.started_ms < to_ms
        )
        if cursor and to_ms > place[0]:
            query = query.where(tuple_(*order) < place)
        query = query.order_by(*(column.desc() for column in order)).limit(limit + 1 - len(found))
        found += connection.execute(query).mappings().all()
        if len(found) > limit:
            last = found[limit - 1]
            following = make_cursor([last["started_ms"], last["instance"], last["attempt"]])
            return Entries(_entries(connection, found[:limit]), following)
        if time.monotonic() > end_s and from_ms > wanted.from_ms:
            # Behind every entry of the millisecond before: where it goes on, nothing was looked at yet.
            return Entries(_entries(connection, found), make_cursor([from_ms - 1, 2**15 - 1, 2**63 - 1]))
    return Entries(_entries(connection, found), None)


def sum_entries(
    connection: Connection,
    wanted: Filter,
    *,
    group_by: Literal["user", "key", "model", "status"] | None = None,
) -> list[Line]:
    """Sums over entries that fit, the highest price first; RecordRefused when the period holds too many."""
    condition = _condition(connection, wanted)
    if condition is None:
        return []
    hours = _hours(connection, wanted, wanted.to_ms)
    if sum(count for _, count in hours) > SUMMED:
        raise RecordRefused(f"the period holds more than {SUMMED:,} entries: ask for a shorter one")
    group = entries.c[group_by] if group_by is not None else None
    query: Select[Any] = select(*([group] if group is not None else []), *_sums())
    query = query.where(
        condition, entries.c.started_ms >= wanted.from_ms, entries.c.started_ms < wanted.to_ms
    )
    if group is not None:
        query = query.group_by(group).order_by(func.sum(entries.c.price_nanodollars).desc()).limit(_GROUPS)
    rows = [row for row in connection.execute(query) if row[-len(MEASURES)]]
    names = names_of(connection, [row[0] for row in rows]) if group_by in _NAMED else {}
    return [
        Line(
            name="" if group is None else names.get(row[0], str(row[0])),
            sums=Sums(
                **{name: int(value) for name, value in zip(MEASURES, row[-len(MEASURES) :], strict=True)}
            ),
        )
        for row in rows
    ]


def _sums() -> list[ColumnElement[Any]]:
    def count(condition: ColumnElement[bool]) -> ColumnElement[Any]:
        return func.count().filter(condition)

    return [
        func.count(),
        count(entries.c.outcome != int(Outcome.OK)),
        count(entries.c.source == int(Source.ESTIMATED)),
        count(entries.c.source == int(Source.PARTIAL)),
        count(entries.c.source == int(Source.UNKNOWN)),
        *(func.sum(entries.c[measure]) for measure in MEASURES[5:13]),
        func.sum(entries.c.ended_ms - entries.c.started_ms),
        func.sum(entries.c.cost_nanodollars),
        func.sum(entries.c.price_nanodollars),
    ]


def _condition(connection: Connection, wanted: Filter) -> ColumnElement[bool] | None:
    """What entries must fulfil beside their time; None when a name is asked for that nobody has."""
    asked = {
        field: (int(term), name)
        for field, term in _NAMED.items()
        if (name := getattr(wanted, field)) is not None
    }
    numbers = look_up(connection, list(asked.values()))
    condition: ColumnElement[bool] = entries.c.started_ms >= wanted.from_ms
    for field, name in asked.items():
        if name not in numbers:
            return None
        condition &= entries.c[field] == numbers[name]
    if wanted.tag is not None:
        # A set of tags holds the tag when its JSON text holds the tag's.
        tag = msgspec.json.encode(wanted.tag).decode()
        sets = select(terms.c.number).where(
            terms.c.kind == int(Term.TAGS), terms.c.text.like(like(tag), escape="\\")
        )
        condition &= entries.c.tags.in_(sets)
    for field in ("user", "request_id", "outcome", "source", "status"):
        if (value := getattr(wanted, field)) is not None:
            condition &= entries.c[field] == (int(value) if isinstance(value, int) else value)
    if wanted.user_contains:
        condition &= entries.c.user.like(like(wanted.user_contains), escape="\\")
    if wanted.least_price_nanodollars is not None:
        condition &= entries.c.price_nanodollars >= wanted.least_price_nanodollars
    if wanted.least_duration_ms is not None:
        condition &= entries.c.ended_ms - entries.c.started_ms >= wanted.least_duration_ms
    return condition


def _hours(connection: Connection, wanted: Filter, to_ms: int) -> list[tuple[int, int]]:
    """Hours that may hold entries that fit, the latest first, each with how many it holds at all."""
    table = rollup_hours
    inside = (table.c.bucket_ms > wanted.from_ms - HOUR_MS) & (table.c.bucket_ms <= to_ms)
    everything = select(table.c.bucket_ms, func.sum(table.c.attempts)).where(
        inside, table.c.kind == int(Kind.ALL), table.c.subject == 0
    )
    for kind, term, name in ((Kind.KEY, Term.KEY, wanted.key), (Kind.TEAM, Term.TEAM, wanted.team)):
        if name:
            number = look_up(connection, [(int(term), name)]).get((int(term), name), -1)
            own = select(table.c.bucket_ms).where(
                inside, table.c.kind == int(kind), table.c.subject == number
            )
            everything = everything.where(table.c.bucket_ms.in_(own))
            break
    rows = connection.execute(everything.group_by(table.c.bucket_ms).order_by(table.c.bucket_ms.desc()))
    return [(int(bucket_ms), int(count)) for bucket_ms, count in rows]


def _slices(connection: Connection, wanted: Filter, to_ms: int) -> Iterator[tuple[int, int]]:
    """Parts of the period, the latest first, none much larger than what is read at once."""
    start = end = 0
    held = 0
    for bucket_ms, count in _hours(connection, wanted, to_ms):
        if end and (held + count > SCANNED_AT_ONCE or bucket_ms + HOUR_MS != start):
            yield max(start, wanted.from_ms), end
            end = held = 0
        if not end:
            end = min(bucket_ms + HOUR_MS, wanted.to_ms, to_ms + 1)
        start = bucket_ms
        held += count
    if end:
        yield max(start, wanted.from_ms), end


def _entries(connection: Connection, rows: list[RowMapping]) -> tuple[Entry, ...]:
    names = names_of(connection, {row[field] for row in rows for field in (*_NAMED, "tags")})
    made = []
    for row in rows:
        values = dict(row) | {field: names[row[field]] for field in _NAMED}
        tags = names[row["tags"]]
        values["tags"] = msgspec.json.decode(tags, type=tuple[str, ...]) if tags else ()
        values["outcome"] = Outcome(row["outcome"])
        counts = [values.pop(name) for name in USAGE_COLUMNS]
        values["usage"] = Usage(Source(values.pop("source")), *counts)
        made.append(Entry(**values))
    return tuple(made)
