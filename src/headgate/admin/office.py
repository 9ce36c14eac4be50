"""What every part of the operator's API works with: the database, the clock, and changes that are noted.

Must not know HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from headgate.admin.caller import Caller
from headgate.core.ports import Keys
from headgate.store.audit import note
from headgate.store.calendar import Calendar
from headgate.store.database import Database

Result = TypeVar("Result")


class Office:
    """One for the process."""

    def __init__(
        self,
        database: Database,
        keys: Keys,
        calendar: Calendar,
        look: Callable[[], Awaitable[None]],
    ) -> None:
        """`look` makes a change known to this process at once; others see it within a second."""
        self.database = database
        self.keys = keys
        self.calendar = calendar
        self._look = look

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """Runs work that changes nothing; raises StoreError."""
        return await self.database.read(work)

    async def change(
        self,
        caller: Caller,
        action: str,
        kind: str,
        work: Callable[[Connection], Result],
        *,
        object_id: str | Callable[[Result], str] = "",
        detail: Any = None,
    ) -> Result:
        """Runs work that changes something, and notes it in the same transaction; raises StoreError.

        The change is in force here when this returns. `detail` holds no secret.
        """

        def noted(connection: Connection) -> Result:
            result = work(connection)
            note(
                connection,
                f"{caller.name} ({caller.key_id})",
                action,
                kind,
                object_id(result) if callable(object_id) else object_id,
                detail=msgspec.to_builtins(detail) if detail is not None else None,
                now_ms=now_ms(),
            )
            return result

        result = await self.database.write(noted)
        await self._look()
        return result


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def given(changes: msgspec.Struct) -> dict[str, Any]:
    """The fields of a change that were given; those left out stay as they are."""
    return {
        name: value
        for name in changes.__struct_fields__
        if (value := getattr(changes, name)) is not msgspec.UNSET
    }
