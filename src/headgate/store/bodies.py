"""What was asked and answered in recent requests, sealed; only where the operator wants it kept.

Who keeps it decides what; here it is sealed before it is written, and opens for its own request alone.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from headgate.core.errors import RecordMissing
from headgate.store.schema_ledger import request_bodies
from headgate.store.seal import Seal

MOST_BYTES = 1024 * 1024
"""Kept of either body: a long conversation. What is longer is cut, and says so."""


class Bodies(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of one request."""

    request_id: str
    at_ms: int
    key_id: str
    request: bytes
    reply: bytes
    cut: bool = False
    """One of them was longer than what is kept."""


def keep_bodies(connection: Connection, bodies: Bodies, seal: Seal) -> None:
    """Writes both, sealed, in place of what was kept of this request before."""
    cut = len(bodies.request) > MOST_BYTES or len(bodies.reply) > MOST_BYTES
    flag = b"\x01" if cut or bodies.cut else b"\x00"
    values = {
        "at_ms": bodies.at_ms,
        "key_id": bodies.key_id,
        "request": seal.close(flag + bodies.request[:MOST_BYTES], f"request:{bodies.request_id}"),
        "reply": seal.close(bodies.reply[:MOST_BYTES], f"reply:{bodies.request_id}"),
    }
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = dialect.insert(request_bodies).values(request_id=bodies.request_id, **values)
    connection.execute(row.on_conflict_do_update(index_elements=["request_id"], set_=values))


def get_bodies(connection: Connection, request_id: str, seal: Seal) -> Bodies:
    """Both bodies of a request; raises RecordMissing, and StoreError when another key sealed them."""
    row = connection.execute(
        select(request_bodies).where(request_bodies.c.request_id == request_id)
    ).one_or_none()
    if row is None:
        raise RecordMissing("the bodies of this request are not kept, or not any more")
    request = seal.open(bytes(row.request), f"request:{request_id}")
    return Bodies(
        request_id=request_id,
        at_ms=row.at_ms,
        key_id=row.key_id,
        request=request[1:],
        reply=seal.open(bytes(row.reply), f"reply:{request_id}"),
        cut=request[:1] == b"\x01",
    )
