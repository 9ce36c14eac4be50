"""Prices that override those that come along, each with its time. Meaning is `core.price`'s to know."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from headgate.core.errors import RecordMissing, RecordRefused
from headgate.store import rules
from headgate.store.changes import PRICES, raise_version
from headgate.store.identity import new_id
from headgate.store.page import to_columns, to_record
from headgate.store.records import Price
from headgate.store.schema_catalog import prices


def create_price(connection: Connection, price: Price, *, now_ms: int) -> Price:
    """Adds a price; its `id` is made here. Raises RecordRefused."""
    made = _checked(msgspec.structs.replace(price, id=new_id("price"), created_ms=now_ms))
    version = raise_version(connection, PRICES)
    connection.execute(insert(prices).values(**to_columns(made), changed=version))
    return made


def change_price(connection: Connection, price_id: str, /, **changes: Any) -> Price:
    """Replaces fields of a price; what was charged with it stays. Raises RecordMissing, RecordRefused."""
    if {"id", "created_ms"} & changes.keys():
        raise RecordRefused("id: that is fixed")
    after = _checked(msgspec.structs.replace(get_price(connection, price_id), **changes))
    version = raise_version(connection, PRICES)
    connection.execute(
        update(prices).where(prices.c.id == price_id).values(**to_columns(after), changed=version)
    )
    return after


def delete_price(connection: Connection, price_id: str) -> None:
    """Takes a price away; what was charged with it stays. Raises RecordMissing."""
    if connection.execute(delete(prices).where(prices.c.id == price_id)).rowcount == 0:
        raise RecordMissing("there is no such price")
    raise_version(connection, PRICES)


def get_price(connection: Connection, price_id: str) -> Price:
    """One price; raises RecordMissing."""
    row = connection.execute(select(prices).where(prices.c.id == price_id)).mappings().one_or_none()
    if row is None:
        raise RecordMissing("there is no such price")
    return to_record(Price, row)


def every_price(connection: Connection) -> list[Price]:
    """All of them, in the order of their making: of two that fit equally well the later one counts."""
    return [
        to_record(Price, row) for row in connection.execute(select(prices).order_by(prices.c.id)).mappings()
    ]


def _checked(price: Price) -> Price:
    until_ms = price.valid_until_ms
    if until_ms is not None and until_ms <= price.valid_from_ms:
        raise RecordRefused("valid_until_ms: must be later than valid_from_ms")
    return msgspec.structs.replace(
        price,
        model=rules.text(price.model, "model", rules.PATTERN_CHARACTERS, needed=True),
        upstream=rules.text(price.upstream, "upstream"),
        valid_from_ms=rules.amount(price.valid_from_ms, "valid_from_ms"),
    )
