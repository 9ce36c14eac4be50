"""The periods of a budget in the operator's time zone: days of 23 and 25 hours included. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo

from headgate.core.limit import Period

FOREVER_MS = 2**53 - 1
"""The end of what never ends: the largest whole number that every counter keeps exactly."""


def bounds(period: Period, zone: tzinfo, at_ms: int) -> tuple[int, int]:
    """Unix times at which the period around `at_ms` begins and the next one does.

    Days begin at local midnight, or where that is left out by a change of clocks, at the change; weeks begin
    on Monday.
    """
    if period == "once":
        return 0, FOREVER_MS
    today = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).date()
    first, following = _days(period, today)
    return _midnight_ms(first, zone), _midnight_ms(following, zone)


def _days(period: Period, today: date) -> tuple[date, date]:
    """The first day of the period that holds `today`, and of the one that follows."""
    if period == "day":
        return today, today + timedelta(days=1)
    if period == "week":
        monday = today - timedelta(days=today.weekday())
        return monday, monday + timedelta(days=7)
    first = today.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1)


def _midnight_ms(day: date, zone: tzinfo) -> int:
    # Through UTC: a midnight that does not exist becomes the instant at which the clocks were changed.
    moment = datetime.combine(day, time(0), zone)
    return int(moment.astimezone(UTC).timestamp()) * 1000
