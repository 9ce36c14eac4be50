"""Budget periods in zones whose clocks change: no instant is in two periods or in none."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.calendar import FOREVER_MS, bounds
from headgate.core.limit import Period

HOUR_MS = 3_600_000
ZONES = [
    *("UTC", "Europe/Berlin", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe", "Asia/Beirut"),
    *("America/Havana", "Pacific/Apia", "Asia/Kathmandu", "Africa/Cairo", "America/Santiago"),
]
"""Among them changes at midnight, of half an hour, and a day that was left out."""
PERIODS: tuple[Period, ...] = ("day", "week", "month")
TIMES = st.integers(1_000_000_000_000, 2_500_000_000_000)


def ms(text: str, zone: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@given(st.sampled_from(ZONES), st.sampled_from(PERIODS), TIMES)
def test_periods_follow_each_other_without_a_gap(name: str, period: Period, at_ms: int) -> None:
    zone = ZoneInfo(name)
    start, end = bounds(period, zone, at_ms)
    assert start <= at_ms < end
    assert bounds(period, zone, start) == (start, end)
    assert bounds(period, zone, end - 1) == (start, end)
    assert bounds(period, zone, end)[0] == end
    assert bounds(period, zone, start - 1)[1] == start


@given(st.sampled_from(ZONES), TIMES)
def test_a_day_begins_when_the_date_changes(name: str, at_ms: int) -> None:
    zone = ZoneInfo(name)
    start, end = bounds("day", zone, at_ms)
    dates = [datetime.fromtimestamp(at / 1000, UTC).astimezone(zone).date() for at in (start, at_ms, end - 1)]
    assert len(set(dates)) == 1


@pytest.mark.parametrize(
    ("zone", "at", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00", 25),
        ("Europe/Berlin", "2026-10-26T12:00", 24),
        ("Asia/Shanghai", "2026-10-25T12:00", 24),
        ("America/Santiago", "2026-09-06T12:00", 23),
    ],
)
def test_days_are_as_long_as_the_clocks_say(zone: str, at: str, hours: int) -> None:
    start, end = bounds("day", ZoneInfo(zone), ms(at, zone))
    assert (end - start) == hours * HOUR_MS


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    zone = ZoneInfo("Asia/Shanghai")
    assert bounds("week", zone, ms("2026-11-22T23:59", zone.key)) == (
        ms("2026-11-16T00:00", zone.key),
        ms("2026-11-23T00:00", zone.key),
    )
    assert bounds("month", zone, ms("2026-12-31T23:59", zone.key)) == (
        ms("2026-12-01T00:00", zone.key),
        ms("2027-01-01T00:00", zone.key),
    )


def test_once_has_no_end() -> None:
    assert bounds("once", UTC, 1_800_000_000_000) == (0, FOREVER_MS)
