"""Hours, days and months: against the standard library's calendar, in zones with every kind of oddity."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.store.calendar import HOUR_MS, Calendar
from headgate.store.spans import Grain, Span, spans

ZONES = ["UTC", "Europe/Berlin", "Asia/Shanghai", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns"]
ZONES += ["Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo"]

moments = st.integers(10**12, 4 * 10**12)
"""From 2001 to 2096."""
zones = st.sampled_from(ZONES)


def shown(at_ms: int, zone: str) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone))


@given(moments, zones)
def test_a_moment_is_in_the_hour_day_and_month_that_a_clock_shows(at_ms: int, zone: str) -> None:
    buckets = Calendar(ZoneInfo(zone)).buckets(at_ms)
    there = shown(at_ms, zone)
    assert 0 <= at_ms - buckets.hour_ms < HOUR_MS
    day = shown(buckets.day_ms, zone)
    assert (day.date(), day.minute, day.second) == (there.date(), 0, 0)
    # Midnight itself is left out where clocks go forward at midnight.
    assert day.hour in (0, 1)
    month = shown(buckets.month_ms, zone)
    assert (month.year, month.month, month.day) == (there.year, there.month, 1)
    assert buckets.month_ms <= buckets.day_ms <= buckets.hour_ms <= at_ms


@given(moments, zones)
def test_days_and_months_follow_each_other_without_a_gap(at_ms: int, zone: str) -> None:
    calendar = Calendar(ZoneInfo(zone))
    buckets = calendar.buckets(at_ms)
    for step, place in ((calendar.next_day, 1), (calendar.next_month, 2)):
        following = step(buckets[place])
        assert following > at_ms
        assert calendar.buckets(following)[place] == following
        assert calendar.buckets(following - 1)[place] == buckets[place]


@given(moments, st.integers(0, 400 * 24 * HOUR_MS), zones, st.sampled_from([None, "hour", "day", "month"]))
def test_a_period_is_covered_once(from_ms: int, length_ms: int, zone: str, grain: Grain | None) -> None:
    calendar = Calendar(ZoneInfo(zone))
    pieces = spans(calendar, from_ms, from_ms + length_ms, grain)
    if not length_ms:
        assert pieces == [] or pieces[-1].to_ms - pieces[0].from_ms <= HOUR_MS
        return
    assert pieces[0].from_ms == calendar.buckets(from_ms).hour_ms
    assert from_ms + length_ms <= pieces[-1].to_ms < from_ms + length_ms + 2 * HOUR_MS
    for before, after in pairwise(pieces):
        assert before.to_ms == after.from_ms
    place = {"hour": 0, "day": 1, "month": 2}
    for piece in pieces:
        assert calendar.buckets(piece.from_ms)[place[piece.grain]] == piece.from_ms
        last = calendar.buckets(piece.to_ms - 1)
        if piece.label_ms is None:
            assert piece.grain == grain
        elif grain in ("day", "month"):
            assert calendar.buckets(piece.from_ms)[place[grain]] == last[place[grain]] == piece.label_ms


def test_a_year_is_months_and_a_week_is_days() -> None:
    calendar = Calendar()
    begin = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
    day = 24 * HOUR_MS
    assert spans(calendar, begin, begin + 365 * day, None) == [Span("month", begin, begin + 365 * day, 0)]
    assert spans(calendar, begin + 3 * day, begin + 10 * day, None) == [
        Span("day", begin + 3 * day, begin + 10 * day, 0)
    ]


@pytest.mark.parametrize("at_ms", [-5, 2**62])
def test_a_clock_gone_mad_is_survived(at_ms: int) -> None:
    hour_ms, day_ms, month_ms = Calendar().buckets(at_ms)
    assert 0 <= month_ms <= day_ms <= hour_ms < 2**48
