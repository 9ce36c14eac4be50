"""What becomes too old: entries, bodies of requests, deliveries. Roll-ups stay for ever.

A little at a time, so that nobody who writes has to wait.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from headgate.store.schema_ledger import entries, request_bodies
from headgate.store.webhooks import forget_delivered

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
AT_ONCE = 20_000
"""Rows deleted in one transaction: some tenths of a second."""
KEEP_DELIVERIES_MS = 30 * DAY_MS
"""Long enough to see what a webhook was told last month."""


def age_out(connection: Connection, *, now_ms: int, keep_entries_days: int, keep_bodies_hours: int) -> int:
    """Deletes some of what is older than it is to be kept (0: for ever); 0 when nothing is left to delete."""
    deleted = 0
    if keep_entries_days:
        deleted += _delete_entries(connection, now_ms - keep_entries_days * DAY_MS)
    if keep_bodies_hours:
        old = request_bodies.c.at_ms < now_ms - keep_bodies_hours * HOUR_MS
        deleted += connection.execute(delete(request_bodies).where(old)).rowcount
    return deleted + forget_delivered(connection, before_ms=now_ms - KEEP_DELIVERIES_MS)


def _delete_entries(connection: Connection, before_ms: int) -> int:
    """Deletes the oldest entries, up to so many that it does not take long."""
    old = (
        select(entries.c.started_ms)
        .where(entries.c.started_ms < before_ms)
        .order_by(entries.c.started_ms)
        .offset(AT_ONCE)
        .limit(1)
    )
    end_ms = connection.execute(old).scalar()
    # A millisecond may hold more than are deleted at once: then all of it goes.
    end_ms = before_ms if end_ms is None else end_ms + 1
    return connection.execute(delete(entries).where(entries.c.started_ms < end_ms)).rowcount
