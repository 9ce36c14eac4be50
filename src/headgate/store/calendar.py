"""Hours, days and months as the operator's clock shows them, as Unix milliseconds. Pure.

A bucket is named by its beginning. After the zone was changed, old buckets stay where they were.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

QUARTER_MS = 15 * 60_000
"""Every offset from UTC that is in use is a multiple of it, so all in one quarter is in the same hour."""
HOUR_MS = 4 * QUARTER_MS
_EARLIEST_MS = 2 * 24 * HOUR_MS
_LATEST_MS = 253_370_764_800_000
"""From the third of January 1970 to the year 9999: inside what a calendar can show, in any zone."""
_REMEMBERED = 100_000
"""Three years of quarters; who asks for more begins anew."""


class Buckets(NamedTuple):
    """Where a moment belongs."""

    hour_ms: int
    day_ms: int
    month_ms: int


class Calendar:
    """Finds the buckets of moments in one time zone."""

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._known: dict[int, Buckets] = {}

    def buckets(self, at_ms: int) -> Buckets:
        """The hour, day and month that a moment is in."""
        quarter = at_ms // QUARTER_MS
        found = self._known.get(quarter)
        if found is None:
            if len(self._known) > _REMEMBERED:
                self._known.clear()
            found = self._known[quarter] = self._find(quarter * QUARTER_MS)
        return found

    def next_day(self, day_ms: int) -> int:
        """The beginning of the day after the one that begins here."""
        # A day has 23 to 25 hours: 36 hours on is within the next one, whatever the clocks do.
        return self.buckets(day_ms + 36 * HOUR_MS).day_ms

    def next_month(self, month_ms: int) -> int:
        """The beginning of the month after the one that begins here."""
        return self.buckets(month_ms + 45 * 24 * HOUR_MS).month_ms

    def _find(self, at_ms: int) -> Buckets:
        # Beyond what a calendar shows (a clock gone mad) all is one bucket at the edge.
        at_ms = min(max(at_ms, _EARLIEST_MS), _LATEST_MS)
        moment = datetime.fromtimestamp(at_ms / 1000, self._zone)
        past_hour = timedelta(minutes=moment.minute, seconds=moment.second, microseconds=moment.microsecond)
        hour_ms = at_ms - int(past_hour.total_seconds()) * 1000
        day = moment.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        return Buckets(hour_ms, _milliseconds(day), _milliseconds(day.replace(day=1)))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
