"""The audit log: who changed what, and when. Written in the change's own transaction, and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select

from headgate.store import rules
from headgate.store.page import Page, page_of
from headgate.store.records import Audit
from headgate.store.schema_accounts import audit

_DETAIL_BYTES = 65_536
"""A change of a key with all its limits takes a few kilobytes."""


def note(
    connection: Connection,
    actor: str,
    action: str,
    kind: str,
    object_id: str = "",
    *,
    detail: Mapping[str, Any] | None = None,
    request_id: str = "",
    now_ms: int,
) -> None:
    """Notes a change: `action` such as `create`, `kind` such as `key`. No secret belongs into `detail`."""
    encoded = msgspec.json.encode(detail or {}).decode()
    connection.execute(
        insert(audit).values(
            at_ms=now_ms,
            actor=actor[: rules.NAME_CHARACTERS],
            action=action[: rules.NAME_CHARACTERS],
            kind=kind[: rules.NAME_CHARACTERS],
            object_id=object_id[: rules.PATTERN_CHARACTERS],
            request_id=request_id[: rules.PATTERN_CHARACTERS],
            detail=encoded if len(encoded) <= _DETAIL_BYTES else '{"truncated": true}',
        )
    )


def list_audit(
    connection: Connection,
    *,
    kind: str = "",
    object_id: str = "",
    limit: int = 100,
    cursor: str | None = None,
) -> Page[Audit]:
    """Changes, the newest first: all, of one kind of thing, or of one thing."""
    query = select(audit)
    if kind:
        query = query.where(audit.c.kind == kind)
    if object_id:
        query = query.where(audit.c.object_id == object_id)
    return page_of(connection, query, [audit.c.id], Audit, limit=limit, cursor=cursor, newest_first=True)


def forget_audit(connection: Connection, *, before_ms: int) -> int:
    """Deletes what is older than the operator wants it; returns how many."""
    return connection.execute(delete(audit).where(audit.c.at_ms < before_ms)).rowcount
