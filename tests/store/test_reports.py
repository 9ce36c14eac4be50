"""Reports and free filters, against the same sums made the slow way."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from sqlalchemy import insert

from headgate.core.errors import RecordRefused
from headgate.core.ports import Outcome
from headgate.core.usage import Source
from headgate.store import entries as entries_module
from headgate.store.calendar import HOUR_MS, Calendar
from headgate.store.database import Database
from headgate.store.entries import Entry, Filter, list_entries, sum_entries
from headgate.store.follow import Ended, Position
from headgate.store.ledger import Ledger, find_mark
from headgate.store.page import to_columns
from headgate.store.records import Key, Team
from headgate.store.reports import Question, Row, report
from headgate.store.rollup import measures
from headgate.store.schema_accounts import keys, teams
from headgate.store.schema_ledger import MEASURES
from tests.store.attempts import T0, attempt, some

DAY_MS = 24 * HOUR_MS
END = T0 + 41 * DAY_MS
TAGS = {"key_1": ["red"], "key_2": ["blue", "red"]}
ZONES = ["UTC", "Asia/Kolkata"]


def key_of(one: Ended) -> str:
    return one.opened.key_id


FIELDS: dict[str, Callable[[Ended], list[str]]] = {
    "key": lambda one: [key_of(one)],
    "team": lambda one: [one.opened.held.team_id] if one.opened.held.team_id else [],
    "tag": lambda one: TAGS.get(key_of(one), []),
    "model": lambda one: [one.opened.model],
    "target": lambda one: [f"{one.opened.upstream}/{one.opened.upstream_model}"],
    "endpoint": lambda one: [one.opened.endpoint],
}


class House:
    """A database with entries in it, and the entries."""

    def __init__(self, database: Database, zone: str, made: list[Ended]) -> None:
        self.database = database
        self.calendar = Calendar(ZoneInfo(zone))
        self.made = made
        with database.writing() as connection:
            connection.execute(
                insert(teams), [to_columns(Team(id=f"team_{n}", name=f"t{n}")) for n in range(2)]
            )
            rows = [
                Key(
                    id=f"key_{n}",
                    name=f"k{n}",
                    team_id=f"team_{n % 2}" if n else None,
                    tags=tuple(TAGS.get(f"key_{n}", ())),
                )
                for n in range(6)
            ]
            connection.execute(insert(keys), [to_columns(row) for row in rows])
            mark = find_mark(connection, "test")
            Ledger(self.calendar).enter(connection, mark, made, Position(1, 0, 1), T0)

    def asked(self, **question: Any) -> list[Row]:
        """All pages of a report."""
        wanted = Question(**{"from_ms": T0, "to_ms": END, "limit": 40, **question})
        rows: list[Row] = []
        while True:
            with self.database.reading() as connection:
                page = report(connection, wanted, self.calendar)
            assert len(page.rows) <= 40
            rows += page.rows
            if page.next_cursor is None:
                return rows
            wanted = msgspec.structs.replace(wanted, cursor=page.next_cursor)

    def counted(self, **question: Any) -> dict[tuple[Any, ...], list[int]]:
        """The same the slow way."""
        wanted = Question(**{"from_ms": T0, "to_ms": END, **question})
        low = self.calendar.buckets(wanted.from_ms).hour_ms
        last = self.calendar.buckets(wanted.to_ms).hour_ms
        high = last if last == wanted.to_ms else last + HOUR_MS
        place = {"hour": 0, "day": 1, "month": 2, None: None}[wanted.grain]
        sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(MEASURES))
        for one in self.made:
            if not low <= one.opened.at_ms < high:
                continue
            if any(name not in FIELDS[field](one) for field, name in wanted.where.items()):
                continue
            bucket = None if place is None else self.calendar.buckets(one.opened.at_ms)[place]
            for names in _product([FIELDS[field](one) for field in wanted.group_by]):
                line = sums[(bucket, *names)]
                for index, value in enumerate(measures(one)):
                    line[index] += value
        return dict(sums)

    def expect(self, **question: Any) -> None:
        """The report says what the slow way says."""
        rows = self.asked(**question)
        found = {
            (row.bucket_ms, *row.names.values()): list(msgspec.structs.astuple(row.sums)) for row in rows
        }
        assert len(found) == len(rows), "a line came twice"
        assert found == self.counted(**question)


def _product(lists: list[list[str]]) -> Iterable[tuple[str, ...]]:
    if not lists:
        return [()]
    return [(first, *rest) for first in lists[0] for rest in _product(lists[1:])]


@pytest.fixture(params=ZONES)
def house(request: pytest.FixtureRequest, database: Database) -> House:
    return House(database, request.param, some(150))


@pytest.mark.parametrize("grain", [None, "hour", "day", "month"])
def test_reports_are_what_the_entries_add_up_to(house: House, grain: str | None) -> None:
    middle = {"from_ms": T0 + 3 * DAY_MS + 5000, "to_ms": T0 + 33 * DAY_MS + 7 * HOUR_MS + 1}
    for group_by in ((), ("model",), ("key",), ("team",), ("tag",), ("target", "key")):
        house.expect(grain=grain, group_by=group_by, **middle)
    house.expect(grain=grain, group_by=("team", "key"), where={"team": "team_1"})
    house.expect(grain=grain, where={"key": "key_2", "model": "m1"})
    house.expect(grain=grain, group_by=("endpoint",), where={"tag": "red"}, **middle)
    house.expect(grain=grain, group_by=("key",), where={"model": "m2", "target": "u1/gpt-4"})
    house.expect(grain=grain, where={"key": "nobody"})
    house.expect(grain=grain, from_ms=END, to_ms=T0)


def test_random_questions(house: House) -> None:
    chance = random.Random(5)
    details = ["model", "target", "endpoint"]
    for _ in range(10):
        subject = chance.choice([[], ["key"], ["team"], ["tag"]])
        fields = subject + chance.sample(details, chance.randrange(3))
        chance.shuffle(fields)
        split = chance.randrange(len(fields) + 1)
        one = chance.choice(house.made)
        where = {field: names[0] for field in fields[split:] if (names := FIELDS[field](one))}
        from_ms = T0 + chance.randrange(30 * DAY_MS)
        house.expect(
            grain=chance.choice([None, "hour", "day", "month"]),
            group_by=tuple(fields[:split]),
            where=where,
            from_ms=from_ms,
            to_ms=from_ms + chance.randrange(20 * DAY_MS),
        )


def test_the_largest_come_first(database: Database) -> None:
    house = House(database, "UTC", some(200))
    for order_by in ("price_nanodollars", "output_tokens", "attempts"):
        values = [getattr(row.sums, order_by) for row in house.asked(group_by=("key",), order_by=order_by)]
        assert values == sorted(values, reverse=True)
        assert len(values) == 6
    with pytest.raises(RecordRefused, match="order_by"):
        house.asked(order_by="price; DROP TABLE entries")


def test_what_is_not_summed_up_is_refused(database: Database) -> None:
    house = House(database, "UTC", some(3))
    for group_by in (("key", "tag"), ("team", "tag")):
        with pytest.raises(RecordRefused, match="ask for entries"):
            house.asked(group_by=group_by)
    with pytest.raises(RecordRefused, match="cursor"):
        house.asked(cursor="nonsense")


FILTERS: list[tuple[dict[str, Any], Callable[[Ended], bool]]] = [
    ({}, lambda one: True),
    ({"key": "key_3"}, lambda one: key_of(one) == "key_3"),
    ({"key": "nobody"}, lambda one: False),
    (
        {"team": "team_1", "model": "m1"},
        lambda one: one.opened.held.team_id == "team_1" and one.opened.model == "m1",
    ),
    ({"target": "u0/gpt-4"}, lambda one: one.opened.upstream == "u0"),
    ({"endpoint": "embeddings"}, lambda one: one.opened.endpoint == "embeddings"),
    ({"tag": "red"}, lambda one: "red" in TAGS.get(key_of(one), [])),
    ({"tag": "r_d"}, lambda one: False),
    ({"user": "ann"}, lambda one: one.opened.held.user == "ann"),
    ({"user": ""}, lambda one: one.opened.held.user == ""),
    ({"user_contains": "o"}, lambda one: "o" in one.opened.held.user),
    ({"user_contains": "%"}, lambda one: False),
    ({"request_id": "req_17"}, lambda one: one.opened.request_id == "req_17"),
    ({"outcome": Outcome.UNKNOWN}, lambda one: one.closed.outcome == Outcome.UNKNOWN),
    (
        {"source": Source.PARTIAL, "status": 429},
        lambda one: one.closed.usage.source == 3 and one.closed.status == 429,
    ),
    ({"least_price_nanodollars": 500_000}, lambda one: one.closed.charge.price_nanodollars >= 500_000),
    ({"least_duration_ms": 30_000}, lambda one: one.closed.at_ms - one.opened.at_ms >= 30_000),
]


@pytest.mark.parametrize("limit", [40, 1000])
def test_filters_find_what_fits_the_newest_first(
    database: Database, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries_module, "SCANNED_AT_ONCE", 20)
    house = House(database, "UTC", some(300))
    period: dict[str, Any] = {"from_ms": T0 + 2 * DAY_MS + 77, "to_ms": T0 + 38 * DAY_MS + 5}
    for filters, fits in FILTERS:
        found: list[Entry] = []
        cursor = None
        while True:
            with database.reading() as connection:
                page = list_entries(connection, Filter(**period, **filters), limit=limit, cursor=cursor)
            assert len(page.items) <= limit
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        wanted = [
            one for one in house.made if period["from_ms"] <= one.opened.at_ms < period["to_ms"] and fits(one)
        ]
        wanted.sort(key=lambda one: (one.opened.at_ms, one.opened.attempt), reverse=True)
        assert [entry.attempt for entry in found] == [one.opened.attempt for one in wanted], filters
        for entry, one in zip(found, wanted, strict=True):
            assert (entry.key, entry.model, entry.user) == (
                key_of(one),
                one.opened.model,
                one.opened.held.user,
            )
            assert (entry.outcome, entry.usage) == (one.closed.outcome, one.closed.usage)
            assert list(entry.tags) == sorted(TAGS.get(key_of(one), []))


def test_a_page_ends_when_time_is_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries_module, "SCANNED_AT_ONCE", 10)
    monkeypatch.setattr(entries_module, "LIST_S", 0.0)
    house = House(database, "UTC", some(100))
    found, cursor, pages = [], None, 0
    while True:
        with database.reading() as connection:
            page = list_entries(connection, Filter(from_ms=T0, to_ms=END), limit=1000, cursor=cursor)
        found += [entry.attempt for entry in page.items]
        pages, cursor = pages + 1, page.next_cursor
        if cursor is None:
            break
    assert pages > 5
    assert sorted(found) == sorted(one.opened.attempt for one in house.made)


def test_entries_of_one_millisecond_are_on_one_page_or_the_next(database: Database) -> None:
    House(database, "UTC", [attempt(number) for number in range(1, 26)])
    found: list[int] = []
    cursor = None
    while True:
        with database.reading() as connection:
            page = list_entries(connection, Filter(from_ms=T0, to_ms=T0 + 1), limit=4, cursor=cursor)
        found += [entry.attempt for entry in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == list(range(25, 0, -1))


def test_sums_over_filters(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(database, "UTC", some(300))
    period = Filter(from_ms=T0, to_ms=END, model="m1")
    for group_by, name in (
        ("user", lambda one: one.opened.held.user),
        ("key", key_of),
        ("status", lambda one: str(one.closed.status)),
        (None, lambda one: ""),
    ):
        expected: dict[str, list[int]] = defaultdict(lambda: [0] * len(MEASURES))
        for one in house.made:
            if one.opened.model == "m1":
                for index, value in enumerate(measures(one)):
                    expected[name(one)][index] += value
        with database.reading() as connection:
            lines = sum_entries(connection, period, group_by=group_by)  # type: ignore[arg-type]
        assert {line.name: list(msgspec.structs.astuple(line.sums)) for line in lines} == expected
        prices = [line.sums.price_nanodollars for line in lines]
        assert prices == sorted(prices, reverse=True)
    monkeypatch.setattr(entries_module, "SUMMED", 100)
    with pytest.raises(RecordRefused, match="shorter"), database.reading() as connection:
        sum_entries(connection, period)
