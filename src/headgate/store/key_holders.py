"""Fills the table of keys from the database, and keeps it as the database is.

Only what was changed is read again. What a holder may spend is put together here; nothing is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, or_, select

from headgate.core.access import access
from headgate.core.limit import Account, Budget
from headgate.core.ports import Principal
from headgate.store.budgets import list_budgets
from headgate.store.changes import KEYS, versions_now
from headgate.store.database import Database
from headgate.store.keys import KeyTable
from headgate.store.page import to_record
from headgate.store.records import Key, Team
from headgate.store.schema_accounts import key_secrets, keys, teams

_FEW = 50
"""Of so many changed keys the budgets are read one by one, of more all together."""


class Changed(msgspec.Struct):
    """What was changed between two versions."""

    version: int
    teams: list[Team]
    keys: list[Key]
    secrets: list[tuple[str, bytes, int | None]]
    """Key, hash, end of its grace."""
    budgets: dict[str, tuple[Budget, ...]]
    """By account, of those keys and teams that were changed."""


class KeyHolders:
    """The holders of all keys of the database, in a table."""

    def __init__(self, database: Database, table: KeyTable) -> None:
        self._database = database
        self._table = table
        self._version = -1
        self._teams: dict[str, Team] = {}
        self._accounts: dict[str, Account] = {}
        """Of teams: their keys share one."""
        self._digests: dict[str, tuple[bytes, ...]] = {}

    async def refresh(self) -> None:
        """Takes over what was changed since; raises StoreError, and then all stays as it was."""
        changed = await self._database.read(load_changed, self._version)
        self.take(changed)

    def take(self, changed: Changed) -> None:
        """Puts changed keys into the table and takes dead ones out of it."""
        for team in changed.teams:
            self._teams[team.id] = team
            self._accounts[team.id] = _team_account(team, changed.budgets)
        secrets: dict[str, list[tuple[bytes, int | None]]] = {}
        for key_id, digest, expires_ms in changed.secrets:
            secrets.setdefault(key_id, []).append((digest, expires_ms))
        for key in changed.keys:
            for digest in self._digests.pop(key.id, ()):
                self._table.drop(digest)
            if self._opens(key):
                holder = self._holder(key, changed.budgets)
                for digest, expires_ms in secrets.get(key.id, []):
                    ends = [end for end in (expires_ms, key.expires_ms) if end is not None]
                    self._table.put(digest, holder, min(ends, default=None))
                self._digests[key.id] = tuple(digest for digest, _ in secrets.get(key.id, []))
        self._version = changed.version

    def _opens(self, key: Key) -> bool:
        if key.disabled or key.deleted_ms is not None:
            return False
        if key.team_id is None:
            return True
        team = self._teams[key.team_id]
        return not team.disabled and team.deleted_ms is None

    def _holder(self, key: Key, budgets: dict[str, tuple[Budget, ...]]) -> Principal:
        account = Account(
            id=f"key:{key.id}",
            limits=key.limits,
            model_limits=key.model_limits,
            user_limits=key.user_limits,
            budgets=budgets.get(f"key:{key.id}", ()),
        )
        team = (self._accounts[key.team_id],) if key.team_id is not None else ()
        return Principal(
            key_id=key.id,
            name=key.name,
            team_id=key.team_id or "",
            accounts=(account, *team),
            access=access(key.scopes, key.models, key.networks),
        )


def load_changed(connection: Connection, since: int) -> Changed:
    """The keys and teams that were changed after a version, with all that belongs to them."""
    version = versions_now(connection).get(KEYS, 0)
    if version == since:
        return Changed(version, [], [], [], {})
    team_changed = teams.c.changed > since
    in_team = keys.c.team_id.in_(select(teams.c.id).where(team_changed))
    key_changed = or_(keys.c.changed > since, in_team)
    found_teams = _records(connection.execute(select(teams).where(team_changed)).all(), Team)
    found_keys = _records(connection.execute(select(keys).where(key_changed)).all(), Key)
    secrets = (
        select(key_secrets.c.key_id, key_secrets.c.sha256, key_secrets.c.expires_ms)
        .join(keys, keys.c.id == key_secrets.c.key_id)
        .where(key_changed)
    )
    accounts = [f"key:{key.id}" for key in found_keys] + [f"team:{team.id}" for team in found_teams]
    return Changed(
        version,
        found_teams,
        found_keys,
        [(row.key_id, bytes(row.sha256), row.expires_ms) for row in connection.execute(secrets)],
        _budgets(connection, accounts),
    )


def _budgets(connection: Connection, accounts: Sequence[str]) -> dict[str, tuple[Budget, ...]]:
    wanted: Sequence[str | None] = accounts if len(accounts) <= _FEW else [None]
    found: dict[str, list[Budget]] = {}
    for account in wanted:
        for one in list_budgets(connection, account):
            found.setdefault(one.account, []).append(one.budget)
    return {account: tuple(budgets) for account, budgets in found.items()}


def _team_account(team: Team, budgets: dict[str, tuple[Budget, ...]]) -> Account:
    return Account(
        id=f"team:{team.id}",
        limits=team.limits,
        model_limits=team.model_limits,
        user_limits=team.user_limits,
        budgets=budgets.get(f"team:{team.id}", ()),
        prepaid=team.prepaid,
        multipliers=team.multipliers,
    )


def _records(rows: Sequence[Row[Any]], kind: Any) -> list[Any]:
    return [to_record(kind, row._mapping) for row in rows]
