"""Looks every moment whether something in the database was changed, by this process or any other.

One small row is read, so often that a revoked key is dead within a second everywhere. Nothing is missed while
the connection is lost, as a notification would be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from headgate.core.errors import StoreError
from headgate.store.changes import versions_now
from headgate.store.database import Database

LOOK_S = 0.4
"""Twice and the reading are within the second that is promised."""

_log = logging.getLogger(__name__)

Reader = Callable[[], Awaitable[None]]


class Watch:
    """Calls whoever reads a topic when that was changed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._readers: dict[str, list[Reader]] = {}
        self._seen: dict[str, int] = {}
        self._away = False
        self._lock = asyncio.Lock()

    def on_change(self, topic: str, reader: Reader) -> None:
        """Calls `reader` at the first look and after every change; it raises StoreError to be asked again."""
        self._readers.setdefault(topic, []).append(reader)

    async def look(self) -> None:
        """Looks now: what was changed before the call is known when it returns. Raises StoreError."""
        async with self._lock:
            now = await self._database.read(versions_now)
            for topic, readers in self._readers.items():
                version = now.get(topic, 0)
                if self._seen.get(topic) != version:
                    for reader in readers:
                        await reader()
                    self._seen[topic] = version

    async def run(self) -> None:
        """Looks for ever; while the database is away all stays as it was."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except StoreError as error:
                if not self._away:
                    _log.error("changes of keys and settings are not seen now: %s", error)
                self._away = True
            else:
                if self._away:
                    _log.warning("changes of keys and settings are seen again")
                self._away = False
