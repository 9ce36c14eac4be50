"""Budgets of keys and teams: set, listed, taken away. What is spent of them is counted elsewhere."""

from __future__ import annotations

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select

from headgate.core.errors import RecordMissing, RecordRefused
from headgate.core.limit import Budget
from headgate.store import rules
from headgate.store.changes import KEYS, raise_version
from headgate.store.key_records import get_key
from headgate.store.records import AccountBudget
from headgate.store.schema_accounts import budgets, keys, teams
from headgate.store.teams import get_team

_MOST_PERCENT = 1000
_MOST_WARNINGS = 10


def set_budget(connection: Connection, account: str, budget: Budget, *, now_ms: int) -> AccountBudget:
    """Gives `key:ID` or `team:ID` a budget, in place of its present one of that period and kind.

    Raises RecordMissing, RecordRefused.
    """
    kind, _, found_id = account.partition(":")
    if kind == "key":
        get_key(connection, found_id)
    elif kind == "team":
        get_team(connection, found_id)
    else:
        raise RecordRefused("account: expected key:ID or team:ID")
    rules.amount(budget.amount_nanodollars, "amount_nanodollars")
    percents = budget.warn_percent
    if len(percents) > _MOST_WARNINGS or not all(0 < percent <= _MOST_PERCENT for percent in percents):
        raise RecordRefused(f"warn_percent: at most {_MOST_WARNINGS} numbers from 1 to {_MOST_PERCENT}")
    connection.execute(delete(budgets).where(_place(account, budget.period, budget.hard)))
    connection.execute(
        insert(budgets).values(
            account=account,
            period=budget.period,
            hard=budget.hard,
            amount_nanodollars=budget.amount_nanodollars,
            warn_percent=msgspec.json.encode(sorted(set(percents))).decode(),
            created_ms=now_ms,
        )
    )
    _touch(connection, account)
    return AccountBudget(account=account, budget=budget, created_ms=now_ms)


def drop_budget(connection: Connection, account: str, period: str, *, hard: bool) -> None:
    """Takes a budget away; raises RecordMissing."""
    if connection.execute(delete(budgets).where(_place(account, period, hard))).rowcount == 0:
        raise RecordMissing("there is no such budget")
    _touch(connection, account)


def list_budgets(connection: Connection, account: str | None = None) -> list[AccountBudget]:
    """The budgets of one account, or all."""
    query = select(budgets).order_by(budgets.c.account, budgets.c.period, budgets.c.hard)
    if account is not None:
        query = query.where(budgets.c.account == account)
    return [
        AccountBudget(
            account=row.account,
            budget=Budget(
                amount_nanodollars=row.amount_nanodollars,
                period=row.period,
                hard=row.hard,
                warn_percent=msgspec.json.decode(row.warn_percent, type=tuple[int, ...]),
            ),
            created_ms=row.created_ms,
        )
        for row in connection.execute(query)
    ]


def _place(account: str, period: str, hard: bool) -> ColumnElement[bool]:
    return and_(budgets.c.account == account, budgets.c.period == period, budgets.c.hard == hard)


def _touch(connection: Connection, account: str) -> None:
    """Marks the key or team as changed: its holders are made anew with the budget."""
    kind, _, found_id = account.partition(":")
    table = keys if kind == "key" else teams
    version = raise_version(connection, KEYS)
    connection.execute(table.update().where(table.c.id == found_id).values(changed=version))
