"""What the ledger has to know of keys and teams: a key's tags, and which teams pay in advance.

Kept in memory, and read anew when keys or teams were changed. Must not know what they may do.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select

from headgate.store.changes import KEYS, versions_now
from headgate.store.schema_accounts import keys, teams


class Holders:
    """As of the last `refresh`."""

    def __init__(self) -> None:
        self._version = -1
        self._tags: dict[str, str] = {}
        self.prepaid: frozenset[str] = frozenset()
        """Teams whose usage is taken from a balance."""

    def refresh(self, connection: Connection) -> bool:
        """Takes what was changed since; whether there was anything."""
        now = versions_now(connection).get(KEYS, 0)
        if now == self._version:
            return False
        changed = select(keys.c.id, keys.c.tags).where(keys.c.changed > self._version)
        for key_id, tags in connection.execute(changed):
            self._tags[key_id] = "" if tags == "[]" else _in_order(tags)
        self.prepaid = frozenset(connection.scalars(select(teams.c.id).where(teams.c.prepaid)))
        self._version = now
        return True

    def tags(self, key_id: str) -> str:
        """The tags of a key as a JSON list in order; empty where it has none."""
        return self._tags.get(key_id, "")


def _in_order(tags: str) -> str:
    found = sorted(set(msgspec.json.decode(tags, type=list[str])))
    return msgspec.json.encode(found).decode()
