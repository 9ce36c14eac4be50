"""Columns as the steps write them. Like a step that was released, nothing here is ever changed."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa


def column(name: str, kind: type[Any], default: str | None = None) -> sa.Column[Any]:
    """A column that always has a value."""
    return sa.Column(name, _type(kind), nullable=False, server_default=default)


def maybe(name: str, kind: type[Any]) -> sa.Column[Any]:
    """A column that may be empty."""
    return sa.Column(name, _type(kind), nullable=True)


def serial(name: str, kind: Any) -> sa.Column[Any]:
    """A column that counts up by itself."""
    return sa.Column(name, kind, autoincrement=True, nullable=False)


def _type(kind: type[Any]) -> Any:
    return sa.Boolean(create_constraint=False) if kind is sa.Boolean else kind()
