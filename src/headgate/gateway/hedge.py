"""Asks a second target when the first one is late: whoever has something to say first is heard.

The other one is cancelled, and stands in the journal as superseded. Must not know how a try is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from headgate.core.errors import ApiError, HeadgateError
from headgate.core.ports import Exchange
from headgate.gateway.attempt import Attempt

Make = Callable[[Attempt], Awaitable[None]]
Failure = tuple[Attempt, ApiError]


class Superseded(HeadgateError):
    """Another attempt was heard first."""


class Race:
    """Two attempts at one request."""

    def __init__(self, exchange: Exchange, make: Make) -> None:
        self._exchange = exchange
        self._make = make
        self._running: dict[asyncio.Task[None], Attempt] = {}
        self._heard: Attempt | None = None

    async def run(self, first: Attempt, late_ms: int, second: Callable[[], Attempt | None]) -> list[Failure]:
        """Returns when the client has its answer, or what failed when it has none.

        `second` makes the other attempt, or None when nobody else can be asked.
        """
        failures: list[Failure] = []
        self._start(first)
        try:
            await asyncio.wait(self._running, timeout=late_ms / 1000)
            if self._heard is None and not self._done():
                other = second()
                if other is not None:
                    self._start(other)
            while self._running:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                for task in self._done():
                    attempt = self._running.pop(task)
                    error = self._outcome(task)
                    if error is not None:
                        failures.append((attempt, error))
                    elif not attempt.superseded:
                        return []
            return failures
        finally:
            await self._stop()

    def _start(self, attempt: Attempt) -> None:
        def claim() -> None:
            self._claim(attempt)

        attempt.claim = claim
        task = asyncio.get_running_loop().create_task(self._run(attempt))
        self._running[task] = attempt

    async def _run(self, attempt: Attempt) -> None:
        await self._make(attempt)

    def _claim(self, attempt: Attempt) -> None:
        """It has something to say: from here it is the only one."""
        if self._heard is not None:
            attempt.superseded = True
            raise Superseded
        self._heard = attempt
        self._exchange.throttle(attempt.reply)
        for task, other in self._running.items():
            if other is not attempt:
                other.superseded = True
                task.cancel()

    def _done(self) -> list[asyncio.Task[None]]:
        return [task for task in self._running if task.done()]

    def _outcome(self, task: asyncio.Task[None]) -> ApiError | None:
        if task.cancelled():
            return None
        error = task.exception()
        if error is None or isinstance(error, Superseded):
            return None
        if isinstance(error, ApiError):
            return error
        raise error

    async def _stop(self) -> None:
        """Ends what still runs: the slower one, or both when the client has left."""
        running = [*self._running]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        for task in running:
            if not task.cancelled():
                task.exception()  # looked at: nobody else will
