"""The books of one gate: its database, the keys in it, the carrier of its journal, what was spent.

Opened before the gate listens, closed when its journal's last record is written. Joins this package.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from headgate.core.errors import SettingsError
from headgate.core.settings_ledger import LedgerSettings
from headgate.store.calendar import Calendar
from headgate.store.carriage import Carriage, journal_identity
from headgate.store.carrier import Orders, Progress
from headgate.store.changes import KEYS
from headgate.store.database import Database, place
from headgate.store.key_holders import KeyHolders
from headgate.store.keys import KeyTable
from headgate.store.migrate import migrate
from headgate.store.spending import Spending
from headgate.store.watch import Watch

TICK_S = 0.25
"""How coarse the clock is by which keys expire."""


class Books:
    """Everything that outlives the process, but the journal itself."""

    def __init__(self, database: Database, orders: Orders, table: KeyTable) -> None:
        self.database = database
        self.folder = Path(orders.folder)
        self.journal = Path(orders.journal)
        self.calendar = Calendar(time_zone(orders.time_zone))
        self.spending = Spending(database, Path(orders.journal), orders.identity, self.calendar)
        self.watch = Watch(database)
        """Tell it who reads what before `start`; call its `look` after every change made here."""
        self.table = table
        self._holders = KeyHolders(database, table)
        self.watch.on_change(KEYS, self._holders.refresh)
        self._orders = orders
        self._carriage: Carriage | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def open(
        cls,
        folder: Path,
        database_url: str | None,
        table: KeyTable,
        settings: LedgerSettings,
    ) -> Books:
        """Opens the database of a data folder that this process has locked, and migrates it.

        Raises SettingsError for a URL that cannot be used, StoreError when the database cannot.
        """
        time_zone(settings.time_zone)
        journal = folder / "journal"
        orders = Orders(
            folder=str(folder),
            journal=str(journal),
            identity=journal_identity(journal),
            time_zone=settings.time_zone,
            keep_entries_days=settings.keep_entries_days,
        )
        database = Database(place(folder, database_url))
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        return cls(database, orders, table)

    async def start(self, carried: Callable[[int], None] = lambda below: None) -> None:
        """Reads the keys and begins to carry the journal; `carried` hears which segments are done with.

        Raises StoreError when the keys cannot be read.
        """
        self.table.now_ms = time.time_ns() // 1_000_000
        await self.watch.look()

        def progressed(progress: Progress) -> None:
            carried(progress.carried_below)

        self._carriage = Carriage(self._orders, progressed)
        self._carriage.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self.watch.run()), loop.create_task(self._tick())]

    @property
    def progress(self) -> Progress | None:
        """How far the journal is carried, and why not if it is not; None before the start."""
        return self._carriage.progress if self._carriage is not None else None

    async def stop(self) -> None:
        """Lets the carrier end; call it when nothing is written to the journal any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._carriage is not None:
            await self._carriage.stop()

    def close(self) -> None:
        """Closes the database, when nobody asks it any more."""
        self.database.close()

    def configure(self, settings: LedgerSettings) -> None:
        """Takes new settings; the time zone alone waits for the next start, where counters begin anew."""
        self._orders = msgspec.structs.replace(self._orders, keep_entries_days=settings.keep_entries_days)
        if self._carriage is not None:
            self._carriage.order(self._orders)

    async def _tick(self) -> None:
        while True:
            self.table.now_ms = time.time_ns() // 1_000_000
            await asyncio.sleep(TICK_S)


def time_zone(name: str) -> ZoneInfo:
    """A zone by its IANA name; raises SettingsError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingsError(
            f'ledger.time_zone: "{name}" is not known here; expected such as Europe/Berlin'
        ) from None
