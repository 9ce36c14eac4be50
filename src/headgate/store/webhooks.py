"""Webhooks and what is to be delivered to them: each subject once to each, again and again until it is taken.

Must not know HTTP; whoever delivers asks for what is due and says how it went.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from headgate.core.errors import RecordMissing, RecordRefused
from headgate.store import rules
from headgate.store.changes import WEBHOOKS, raise_version
from headgate.store.identity import new_id
from headgate.store.page import Page, page_of, to_columns, to_record
from headgate.store.records import Delivery, Webhook
from headgate.store.schema_catalog import deliveries, webhooks

MOST_TRIES = 12
"""With doubled pauses from ten seconds on: more than half a day, the night in which nobody looks."""
FIRST_PAUSE_MS = 10_000


def create_webhook(connection: Connection, webhook: Webhook, *, now_ms: int) -> Webhook:
    """Adds a webhook; its `id` is made here unless it has one. Raises RecordRefused."""
    found = webhook.id or new_webhook_id()
    made = _checked(msgspec.structs.replace(webhook, id=found, created_ms=now_ms))
    version = raise_version(connection, WEBHOOKS)
    connection.execute(insert(webhooks).values(**to_columns(made), changed=version))
    return made


def new_webhook_id() -> str:
    """An id for a webhook that is to be made: its secret is sealed for it."""
    return new_id("hook")


def change_webhook(connection: Connection, webhook_id: str, /, **changes: Any) -> Webhook:
    """Replaces fields of a webhook; raises RecordMissing, RecordRefused."""
    after = _checked(msgspec.structs.replace(get_webhook(connection, webhook_id), **changes))
    version = raise_version(connection, WEBHOOKS)
    connection.execute(
        update(webhooks).where(webhooks.c.id == webhook_id).values(**to_columns(after), changed=version)
    )
    return after


def delete_webhook(connection: Connection, webhook_id: str) -> None:
    """Takes a webhook away, and what was to be delivered to it; raises RecordMissing."""
    if connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id)).rowcount == 0:
        raise RecordMissing("there is no such webhook")
    raise_version(connection, WEBHOOKS)


def get_webhook(connection: Connection, webhook_id: str) -> Webhook:
    """One webhook; raises RecordMissing."""
    row = connection.execute(select(webhooks).where(webhooks.c.id == webhook_id)).mappings().one_or_none()
    if row is None:
        raise RecordMissing("there is no such webhook")
    return to_record(Webhook, row)


def every_webhook(connection: Connection) -> list[Webhook]:
    """All of them."""
    return [
        to_record(Webhook, row)
        for row in connection.execute(select(webhooks).order_by(webhooks.c.id)).mappings()
    ]


def announce(connection: Connection, event: str, subject: str, body: dict[str, Any], *, now_ms: int) -> int:
    """Puts an event on its way to every webhook that wants it; of one subject once. Returns to how many.

    An empty list of events means all.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    sent = 0
    for webhook in every_webhook(connection):
        if webhook.disabled or (webhook.events and event not in webhook.events):
            continue
        row = dialect.insert(deliveries).values(
            webhook_id=webhook.id,
            event=event,
            subject=subject,
            body=msgspec.json.encode(body).decode(),
            created_ms=now_ms,
            next_ms=now_ms,
        )
        sent += connection.execute(row.on_conflict_do_nothing()).rowcount
    if sent:
        raise_version(connection, WEBHOOKS)
    return sent


def due(connection: Connection, *, now_ms: int, limit: int = 50) -> list[Delivery]:
    """What is to be delivered now, the oldest first."""
    query = (
        select(deliveries).where(deliveries.c.next_ms <= now_ms).order_by(deliveries.c.next_ms).limit(limit)
    )
    return [to_record(Delivery, row) for row in connection.execute(query).mappings()]


def claim(connection: Connection, delivery: Delivery, *, until_ms: int) -> bool:
    """Takes a delivery for oneself until a time; False when another process was quicker."""
    mine = (deliveries.c.id == delivery.id) & (deliveries.c.next_ms == delivery.next_ms)
    return connection.execute(update(deliveries).where(mine).values(next_ms=until_ms)).rowcount == 1


def delivered(connection: Connection, delivery_id: int, *, now_ms: int) -> None:
    """It was taken."""
    done = {"delivered_ms": now_ms, "next_ms": None, "failure": ""}
    connection.execute(
        update(deliveries).where(deliveries.c.id == delivery_id).values(tries=deliveries.c.tries + 1, **done)
    )


def failed(connection: Connection, delivery_id: int, failure: str, *, now_ms: int) -> None:
    """It was not taken: tried again later, and in the end given up."""
    tries = connection.execute(select(deliveries.c.tries).where(deliveries.c.id == delivery_id)).scalar()
    if tries is None:
        return
    tries += 1
    next_ms = None if tries >= MOST_TRIES else now_ms + FIRST_PAUSE_MS * 2 ** (tries - 1)
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id)
        .values(tries=tries, next_ms=next_ms, failure=failure[: rules.TEXT_CHARACTERS])
    )


def list_deliveries(
    connection: Connection, webhook_id: str, *, limit: int = 100, cursor: str | None = None
) -> Page[Delivery]:
    """What was and is to be delivered to one webhook, the newest first."""
    query = select(deliveries).where(deliveries.c.webhook_id == webhook_id)
    return page_of(
        connection, query, [deliveries.c.id], Delivery, limit=limit, cursor=cursor, newest_first=True
    )


def forget_delivered(connection: Connection, *, before_ms: int) -> int:
    """Deletes what was delivered or given up before a time; returns how many."""
    old = deliveries.c.next_ms.is_(None) & (deliveries.c.created_ms < before_ms)
    return connection.execute(delete(deliveries).where(old)).rowcount


def _checked(webhook: Webhook) -> Webhook:
    url = rules.text(webhook.url, "url", needed=True)
    if not url.startswith(("https://", "http://")):
        raise RecordRefused("url: expected https://... or http://...")
    if not webhook.secret:
        raise RecordRefused("secret: a webhook without one could be forged by anybody")
    return msgspec.structs.replace(webhook, url=url, events=rules.names(webhook.events, "events") or ())
