"""Reports from roll-ups: usage by time and by key, team, tag, model, target, endpoint, in an instant.

What roll-ups do not tell apart (end users, two of key, tag and team at once) is asked of entries instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, Table, func, literal, select, union_all
from sqlalchemy import Row as Found

from headgate.core.errors import RecordRefused
from headgate.store.calendar import Calendar
from headgate.store.page import MOST, make_cursor, read_cursor
from headgate.store.rollup import Kind
from headgate.store.schema_accounts import keys
from headgate.store.schema_ledger import MEASURES, rollup_days, rollup_hours, rollup_months, terms
from headgate.store.spans import Grain, Span, spans
from headgate.store.terms import Term, look_up, names_of

Dimension = Literal["key", "team", "tag", "model", "target", "endpoint"]

SUBJECTS_AT_ONCE = 25
"""Keys, teams or tags whose sums over time are read together: a page of a long report stays quick."""

_TABLES: dict[Grain, Table] = {"hour": rollup_hours, "day": rollup_days, "month": rollup_months}
_SUBJECTS: dict[str, tuple[Kind, Term]] = {
    "key": (Kind.KEY, Term.KEY),
    "team": (Kind.TEAM, Term.TEAM),
    "tag": (Kind.TAG, Term.TAG),
}
_DETAILS: dict[str, Term] = {"model": Term.MODEL, "target": Term.TARGET, "endpoint": Term.ENDPOINT}
_DAY_TOTALS = {Kind.KEY: Kind.KEY_DAY, Kind.TEAM: Kind.TEAM_DAY, Kind.TAG: Kind.TAG_DAY}


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What is added up; names as in the ledger's tables."""

    attempts: int = 0
    failures: int = 0
    """Attempts with an outcome other than OK."""
    estimated: int = 0
    """Attempts whose usage was estimated; the next two likewise. The rest was reported."""
    partial: int = 0
    unknown: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0
    seconds: int = 0
    """Of sound."""
    characters: int = 0
    """That were spoken."""
    duration_ms: int = 0
    cost_nanodollars: int = 0
    price_nanodollars: int = 0


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a report is to tell."""

    from_ms: int
    to_ms: int
    """Both are widened to whole hours."""
    grain: Grain | None = None
    """A row for each hour, day or month; None for one sum over the period."""
    group_by: tuple[Dimension, ...] = ()
    where: dict[Dimension, str] = {}
    order_by: str = "price_nanodollars"
    """The sum whose largest come first where there is no `grain`; with one, rows go by subject and time."""
    limit: int = 100
    cursor: str | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a report."""

    bucket_ms: int | None
    """The beginning of its hour, day or month."""
    names: dict[str, str]
    """By dimension, of those that it is grouped by."""
    sums: Sums


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Some lines, and where more are."""

    rows: tuple[Row, ...]
    next_cursor: str | None


def report(connection: Connection, question: Question, calendar: Calendar) -> Report:
    """Answers from roll-ups; raises RecordRefused for what they cannot tell."""
    plan = _plan(connection, question, calendar)
    limit = min(max(question.limit, 1), MOST)
    after, offset = read_cursor(question.cursor, tuple[int, int]) if question.cursor else (0, 0)
    if plan is None or not plan.pieces:
        return Report(rows=(), next_cursor=None)
    if question.grain is None:
        found = _largest(connection, plan, question.order_by, limit + 1, offset)
        following = make_cursor([0, offset + limit]) if len(found) > limit else None
        return Report(rows=_named(connection, question, plan, found[:limit]), next_cursor=following)
    rows, following = _in_order(connection, plan, limit, after, offset)
    return Report(rows=_named(connection, question, plan, rows), next_cursor=following)


class _Plan(msgspec.Struct):
    """How a question is asked of the tables."""

    kind: Kind
    term: Term | None
    subjects: Sequence[int] | None
    """Only these; None for all."""
    details: tuple[str, ...]
    """Columns that rows are grouped by, beside subject and time."""
    filters: dict[str, int]
    by_subject: bool
    pieces: list[Span]


_Found = tuple[tuple[int, ...], tuple[int, ...]]
"""Time, subject and details; sums."""


def _plan(connection: Connection, question: Question, calendar: Calendar) -> _Plan | None:
    """None when a name is asked for that nobody has."""
    asked = set(question.group_by) | set(question.where)
    subjects = asked & _SUBJECTS.keys()
    if subjects == {"key", "team"}:
        subjects = {"key"}
    if len(subjects) > 1:
        raise RecordRefused("group_by: key, team and tag are not summed up together; ask for entries instead")
    kind, term = _SUBJECTS[subjects.pop()] if subjects else (Kind.ALL, None)
    numbers = _numbers(connection, question.where)
    if None in numbers.values():
        return None
    only: list[int] | None = None
    if kind is Kind.KEY and "team" in question.where and "key" not in question.where:
        only = _keys_of(connection, question.where["team"])
    elif (
        term is not None
        and (name := next((d for d, (k, _) in _SUBJECTS.items() if k is kind), "")) in numbers
    ):
        only = [numbers[name] or 0]
    return _Plan(
        kind,
        term,
        only,
        tuple(dimension for dimension in question.group_by if dimension in _DETAILS),
        {name: number or 0 for name, number in numbers.items() if name in _DETAILS},
        any(dimension in _SUBJECTS for dimension in question.group_by),
        spans(calendar, question.from_ms, question.to_ms, question.grain),
    )


def _numbers(connection: Connection, where: Mapping[Dimension, str]) -> dict[str, int | None]:
    terms_of = {name: term for name, (_, term) in _SUBJECTS.items()} | _DETAILS
    wanted = {name: (int(terms_of[name]), text) for name, text in where.items()}
    found = look_up(connection, list(wanted.values()))
    return {name: found.get(place) for name, place in wanted.items()}


def _keys_of(connection: Connection, team_id: str) -> list[int]:
    """The numbers of a team's keys, closed ones too: a key stays in its team."""
    mine = select(terms.c.number).join(keys, keys.c.id == terms.c.text)
    mine = mine.where(terms.c.kind == int(Term.KEY), keys.c.team_id == team_id)
    return list(connection.scalars(mine))


def _next_subjects(connection: Connection, term: Term | None, after: int) -> list[int]:
    query = select(terms.c.number).where(terms.c.kind == int(term or 0), terms.c.number > after)
    return list(connection.scalars(query.order_by(terms.c.number).limit(SUBJECTS_AT_ONCE)))


def _in_order(
    connection: Connection, plan: _Plan, limit: int, after: int, offset: int
) -> tuple[list[_Found], str | None]:
    """Lines in order of subject, time and details, and the cursor behind them."""
    by_chunks = plan.kind is not Kind.ALL and plan.subjects is None
    rows: list[_Found] = []
    while len(rows) < limit:
        chunk = _next_subjects(connection, plan.term, after) if by_chunks else plan.subjects
        if chunk is not None and not chunk:
            return rows, None
        query = _joined(plan, chunk)
        place = list(query.selected_columns)[: 2 + len(plan.details)]
        room = limit - len(rows)
        found = _found(plan, connection.execute(query.order_by(*place).limit(room + 1).offset(offset)).all())
        rows += found[:room]
        if len(found) > room:
            return rows, make_cursor([after, offset + room])
        if not by_chunks or chunk is None:
            return rows, None
        after, offset = chunk[-1], 0
    return rows, make_cursor([after, 0])


def _largest(connection: Connection, plan: _Plan, order_by: str, limit: int, offset: int) -> list[_Found]:
    """The lines with the largest sums, those of equal ones in order of their numbers."""
    if order_by not in MEASURES:
        raise RecordRefused(f"order_by: expected one of {', '.join(MEASURES)}")
    if plan.subjects is not None and not plan.subjects:
        return []
    width = 2 + len(plan.details)
    # Which they are is found by one sum; all of them are made for those alone: a third of the work.
    query = _joined(plan, plan.subjects, tuple(dict.fromkeys(("attempts", order_by))))
    columns = list(query.selected_columns)
    query = query.order_by(columns[-1].desc(), *columns[:width]).limit(limit).offset(offset)
    places = [tuple(row[:width]) for row in connection.execute(query)]
    only = sorted({place[0] for place in places}) if plan.by_subject else plan.subjects
    if only is not None and not only:
        return []
    sums = dict(_found(plan, connection.execute(_joined(plan, only)).all()))
    return [(place, sums[place]) for place in places]


def _joined(plan: _Plan, subjects: Sequence[int] | None, measures: Sequence[str] = MEASURES) -> Select[Any]:
    """The pieces of the period as one query: subject, time, details, sums, attempts first."""
    pieces = union_all(*(_piece(plan, span, subjects, measures) for span in plan.pieces)).subquery()
    columns = list(pieces.c)
    width = len(columns) - len(measures)
    sums = [func.sum(column).label(column.name) for column in columns[width:]]
    return select(*columns[:width], *sums).group_by(*columns[:width]).having(func.sum(columns[width]) > 0)


def _found(plan: _Plan, rows: Sequence[Found[Any]]) -> list[_Found]:
    width = 2 + len(plan.details)
    return [(tuple(row[:width]), tuple(int(value) for value in row[width:])) for row in rows]


def _piece(plan: _Plan, span: Span, subjects: Sequence[int] | None, measures: Sequence[str]) -> Select[Any]:
    table = _TABLES[span.grain]
    kind = plan.kind
    if span.grain == "day" and kind in _DAY_TOTALS and not plan.details and not plan.filters:
        kind = _DAY_TOTALS[kind]
    label: ColumnElement[int] = table.c.bucket_ms if span.label_ms is None else literal(span.label_ms)
    subject: ColumnElement[int] = table.c.subject if plan.by_subject else literal(0)
    group = [subject.label("subject"), label.label("bucket"), *(table.c[name] for name in plan.details)]
    query = select(*group, *(func.sum(table.c[measure]).label(measure) for measure in measures))
    query = query.where(table.c.kind == int(kind))
    if subjects is None and kind is not Kind.ALL:
        # One seek for each subject that there is, in their order, instead of reading all times of all.
        there = select(terms.c.number).where(terms.c.kind == int(plan.term or 0))
        query = query.where(table.c.subject.in_(there))
    elif subjects is not None and len(subjects) == 1:
        query = query.where(table.c.subject == subjects[0])
    elif subjects is not None:
        query = query.where(table.c.subject.in_(subjects))
    else:
        query = query.where(table.c.subject == 0)
    query = query.where(table.c.bucket_ms >= span.from_ms, table.c.bucket_ms < span.to_ms)
    for name, number in plan.filters.items():
        query = query.where(table.c[name] == number)
    columns: list[ColumnElement[Any]] = [table.c[name] for name in plan.details]
    if plan.by_subject:
        columns.insert(0, table.c.subject)
    if span.label_ms is None:
        columns.append(table.c.bucket_ms)
    return query.group_by(*columns) if columns else query


def _named(
    connection: Connection, question: Question, plan: _Plan, page: Sequence[_Found]
) -> tuple[Row, ...]:
    names = names_of(connection, {number for place, _ in page for number in (place[0], *place[2:])})
    teams_of = _teams(connection, question, [names[place[0]] for place, _ in page])
    rows = []
    for (subject, bucket, *details), sums in page:
        told = dict(zip(plan.details, (names[number] for number in details), strict=True))
        for dimension in question.group_by:
            if dimension in _SUBJECTS:
                own = dimension == "team" and plan.kind is Kind.KEY
                told[dimension] = teams_of.get(names[subject], "") if own else names[subject]
        ordered = {str(dimension): told[dimension] for dimension in question.group_by}
        at_ms = bucket if question.grain is not None else None
        rows.append(Row(bucket_ms=at_ms, names=ordered, sums=Sums(**dict(zip(MEASURES, sums, strict=True)))))
    return tuple(rows)


def _teams(connection: Connection, question: Question, key_ids: Sequence[str]) -> dict[str, str]:
    if not {"key", "team"} <= set(question.group_by):
        return {}
    query = select(keys.c.id, keys.c.team_id).where(keys.c.id.in_(sorted(set(key_ids))))
    return {row.id: row.team_id or "" for row in connection.execute(query)}
