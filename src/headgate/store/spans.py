"""A period as pieces of roll-ups: whole months, whole days, and hours at the edges. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from headgate.store.calendar import HOUR_MS, Calendar

Grain = Literal["hour", "day", "month"]


class Span(NamedTuple):
    """A piece of a period, all of it inside whole buckets of one roll-up."""

    grain: Grain
    from_ms: int
    to_ms: int
    label_ms: int | None
    """The bucket of the report that all of it belongs to; None when each bucket of the roll-up is one."""


def spans(calendar: Calendar, from_ms: int, to_ms: int, grain: Grain | None) -> list[Span]:
    """The pieces of a period for a report by hour, day or month, or (None) with one sum over all.

    The period is widened to whole hours.
    """
    from_ms = calendar.buckets(from_ms).hour_ms
    last_hour = calendar.buckets(to_ms).hour_ms
    to_ms = last_hour if last_hour == to_ms else last_hour + HOUR_MS
    if to_ms <= from_ms:
        return []
    if grain == "hour":
        return [Span("hour", from_ms, to_ms, None)]
    return list(_pieces(calendar, from_ms, to_ms, grain))


def _pieces(calendar: Calendar, from_ms: int, to_ms: int, grain: Grain | None) -> Iterator[Span]:
    """Hours up to the first whole day, days up to the first whole month, and the same at the end."""
    at = from_ms
    while at < to_ms:
        _, day_ms, month_ms = calendar.buckets(at)
        next_day, next_month = calendar.next_day(day_ms), calendar.next_month(month_ms)
        label = {"day": day_ms, "month": month_ms}.get(grain or "", 0)
        if at == month_ms and next_month <= to_ms and grain != "day":
            end = _whole(calendar, next_month, to_ms, months=True)
            yield Span("month", at, end, None if grain == "month" else 0)
        elif at == day_ms and next_day <= to_ms:
            # Days of one month at a time, so that they have one label where months are asked for.
            end = _whole(
                calendar, next_day, to_ms if grain == "day" else min(to_ms, next_month), months=False
            )
            yield Span("day", at, end, None if grain == "day" else label)
        else:
            end = min(to_ms, next_day)
            yield Span("hour", at, end, label)
        at = end


def _whole(calendar: Calendar, at: int, to_ms: int, *, months: bool) -> int:
    """The end of the last whole month or day that ends by then."""
    step = calendar.next_month if months else calendar.next_day
    while (following := step(at)) <= to_ms:
        at = following
    return at
