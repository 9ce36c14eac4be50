"""Keeps what is lent for a time, such as a token, and gets it anew before its time is over.

Whoever asks is never kept waiting while there is one that holds. Must not know what it is for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from logging import getLogger
from typing import Generic, TypeVar

from headgate.core.errors import ConnectFailed

log = getLogger("headgate.backends")

Value = TypeVar("Value")

MARGIN_S = 300.0
"""A token is renewed this long before its end: five minutes in which its giver may be away."""

RETRY_S = 10.0
"""When to ask again for what was refused: no storm in an outage, no long wait after it."""


class Lent(Generic[Value]):
    """A value and how long it may be used."""

    __slots__ = ("lasts_s", "renew_s", "value")

    def __init__(self, value: Value, lasts_s: float, renew_s: float | None = None) -> None:
        """`renew_s` tells when to get the next; well before the end, where nothing is said."""
        self.value = value
        self.lasts_s = lasts_s
        self.renew_s = max(lasts_s - MARGIN_S, lasts_s / 2) if renew_s is None else renew_s

    def __repr__(self) -> str:
        return f"Lent({self.lasts_s:g} s)"  # the value is a secret


class Keeper(Generic[Value]):
    """One value that is always at hand."""

    def __init__(self, what: str, obtain: Callable[[], Lent[Value]]) -> None:
        """`what` is for the log; `obtain` blocks, runs in a thread, and raises ConnectFailed."""
        self._what = what
        self._obtain = obtain
        self._lent: Lent[Value] | None = None
        self._since_s = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._refused: ConnectFailed | None = None
        self._refused_s = 0.0

    async def current(self) -> Value:
        """A value that holds; raises ConnectFailed where there is none to be had."""
        now_s = asyncio.get_running_loop().time()
        lent = self._lent
        if lent is not None:
            age_s = now_s - self._since_s
            if age_s < lent.lasts_s:
                if age_s >= lent.renew_s and now_s - self._refused_s >= RETRY_S:
                    self._ask()
                return lent.value
        if self._refused is not None and now_s - self._refused_s < RETRY_S:
            raise ConnectFailed(str(self._refused))
        # Shielded: it is for everyone who waits, and this client may leave.
        await asyncio.shield(self._ask())
        assert self._lent is not None
        return self._lent.value

    async def close(self) -> None:
        """Lets go of a request for a new one."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _ask(self) -> asyncio.Task[None]:
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._renew())
            self._asking.add_done_callback(self._asked)
        return self._asking

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # told already; whoever waits gets it too

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        try:
            lent = await loop.run_in_executor(None, self._obtain)
        except ConnectFailed as error:
            log.warning("%s: %s", self._what, error)
            self._refused, self._refused_s = error, loop.time()
            raise
        # From before the question: its giver's clock began to run somewhere in between.
        self._lent, self._since_s, self._refused = lent, asked_s, None
