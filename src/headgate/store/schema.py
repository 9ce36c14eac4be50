"""What every table is made of: one collection, names for constraints, the kinds of columns.

The tables stand in `schema_accounts`, `schema_catalog`, `schema_ledger`; their history in `migrations`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, MetaData, SmallInteger, Text

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table. Constraints have names, so that a later migration can find them."""

NUMBER = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits everywhere; SQLite counts up by itself only what it calls INTEGER."""


def text(name: str, *, default: str | None = "") -> Column[str]:
    """A text that is always there; its length is the caller's to bound."""
    return Column(name, Text, nullable=False, server_default=default)


def number(name: str, *, default: str | None = "0") -> Column[int]:
    """A whole number of 64 bits: a time in Unix milliseconds, money in nano-dollars, a count."""
    return Column(name, BigInteger, nullable=False, server_default=default)


def small(name: str) -> Column[int]:
    """A whole number of 16 bits: a member of an enumeration, an HTTP status."""
    return Column(name, SmallInteger, nullable=False, server_default="0")


def flag(name: str) -> Column[bool]:
    """Yes or no; no where nothing is said."""
    return Column(name, Boolean(create_constraint=False), nullable=False, server_default="0")


def maybe(name: str) -> Column[int | None]:
    """A number that may be missing: no expiry, no end."""
    return Column(name, BigInteger, nullable=True)


def blob(name: str, **options: Any) -> Column[bytes]:
    """Bytes: a hash, something sealed."""
    return Column(name, LargeBinary, **{"nullable": False, **options})
