"""Sums over entries, by hour, day and month, for everybody, each key, team and tag. Pure.

A cell is what one row of a roll-up holds; the names in it are numbers (`store/terms.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from operator import add
from typing import NamedTuple, TypeVar

import msgspec

from headgate.core.ports import Outcome
from headgate.core.usage import Source
from headgate.store.calendar import Buckets
from headgate.store.follow import Ended

Where = TypeVar("Where", bound=tuple[object, ...])
Sums = list[int]
"""In the order of `schema_ledger.MEASURES`; never changed in place, for cells share them."""

MOST_COUNTED = 10**15
"""Of one attempt: what an upstream claims beyond it is nonsense, and must not spoil a sum."""


class Kind(IntEnum):
    """Whose sums a row holds."""

    ALL = 0
    KEY = 1
    TEAM = 2
    TAG = 3
    KEY_DAY = 11
    """Days of a key over all models, targets and endpoints: for reports over every key there is."""
    TEAM_DAY = 12
    TAG_DAY = 13


class Cell(NamedTuple):
    """The primary key of a roll-up's row."""

    kind: int
    subject: int
    bucket_ms: int
    model: int = 0
    target: int = 0
    endpoint: int = 0


class Names(NamedTuple):
    """The numbers of an entry's names, in the order of its columns."""

    key: int
    team: int
    model: int
    target: int
    endpoint: int
    tags: int


class Group(NamedTuple):
    """Entries that no report can tell apart."""

    buckets: Buckets
    names: Names


class Deltas(msgspec.Struct):
    """What a batch adds to each roll-up."""

    hours: dict[Cell, Sums]
    days: dict[Cell, Sums]
    months: dict[Cell, Sums]


def measures(one: Ended) -> Sums:
    """What one attempt adds, in the order of `schema_ledger.MEASURES`."""
    closed = one.closed
    usage, charge, source = closed.usage, closed.charge, closed.usage.source
    return [
        1,
        0 if closed.outcome == Outcome.OK else 1,
        1 if source == Source.ESTIMATED else 0,
        1 if source == Source.PARTIAL else 0,
        1 if source == Source.UNKNOWN else 0,
        min(usage.input_tokens, MOST_COUNTED),
        min(usage.cached_input_tokens, MOST_COUNTED),
        min(usage.cache_write_tokens, MOST_COUNTED),
        min(usage.output_tokens, MOST_COUNTED),
        min(usage.reasoning_tokens, MOST_COUNTED),
        min(usage.images, MOST_COUNTED),
        min(usage.seconds, MOST_COUNTED),
        min(usage.characters, MOST_COUNTED),
        # A clock that was set back must not take time from the others.
        max(closed.at_ms - one.opened.at_ms, 0),
        charge.cost_nanodollars,
        charge.price_nanodollars,
    ]


def add_up(groups: Mapping[Group, Sums], tag_sets: Mapping[int, Iterable[int]]) -> Deltas:
    """The sums of a batch; `tag_sets` tells which tags each set has."""
    deltas = Deltas({}, {}, {})
    hours, days, months = deltas.hours, deltas.days, deltas.months
    teams: dict[tuple[Buckets, int, int, int, int], Sums] = {}
    for (buckets, (key, team, model, target, endpoint, tags)), sums in groups.items():
        hour, day, month = buckets
        _add(hours, Cell(1, key, hour, model, target, endpoint), sums)
        _add(days, Cell(1, key, day, model, target, endpoint), sums)
        _add(days, Cell(11, key, day), sums)
        _add(months, Cell(1, key, month, model, target, endpoint), sums)
        _add(teams, (buckets, team, model, target, endpoint), sums)
        if tags:
            for tag in tag_sets[tags]:
                _add_subject(deltas, Kind.TAG, tag, buckets, (model, target, endpoint), sums)
    everybody: dict[tuple[Buckets, int, int, int], Sums] = {}
    for (buckets, team, model, target, endpoint), sums in teams.items():
        if team:
            _add_subject(deltas, Kind.TEAM, team, buckets, (model, target, endpoint), sums)
        _add(everybody, (buckets, model, target, endpoint), sums)
    for (buckets, model, target, endpoint), sums in everybody.items():
        _add(hours, Cell(0, 0, buckets.hour_ms, model, target, endpoint), sums)
        _add(days, Cell(0, 0, buckets.day_ms, model, target, endpoint), sums)
        _add(months, Cell(0, 0, buckets.month_ms, model, target, endpoint), sums)
    return deltas


def _add_subject(
    deltas: Deltas, kind: Kind, subject: int, buckets: Buckets, detail: tuple[int, int, int], sums: Sums
) -> None:
    total = Kind.TEAM_DAY if kind is Kind.TEAM else Kind.TAG_DAY
    _add(deltas.hours, Cell(int(kind), subject, buckets.hour_ms, *detail), sums)
    _add(deltas.days, Cell(int(kind), subject, buckets.day_ms, *detail), sums)
    _add(deltas.days, Cell(int(total), subject, buckets.day_ms), sums)
    _add(deltas.months, Cell(int(kind), subject, buckets.month_ms, *detail), sums)


def _add(into: dict[Where, Sums], place: Where, sums: Sums) -> None:
    found = into.get(place)
    if found is None:
        into[place] = sums
    else:
        into[place] = list(map(add, found, sums))
