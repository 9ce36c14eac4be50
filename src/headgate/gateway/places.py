"""Places: how many requests may be somewhere at once, and a short queue in front.

Whoever leaves hands the place to the first in the queue, so that nobody overtakes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from headgate.core.errors import QueueFull

BUSY_RETRY_MS = 1000
"""When to come back to a full queue: about the length of one short answer."""


class Places:
    """So many places, shared by every target that has them."""

    __slots__ = ("_queue", "limit", "queue_limit", "queue_timeout_ms", "taken")

    def __init__(self, limit: int, queue_limit: int = 0, queue_timeout_ms: int = 5000) -> None:
        self.limit = limit
        self.queue_limit = queue_limit
        self.queue_timeout_ms = queue_timeout_ms
        self.taken = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def full(self) -> bool:
        """There is no free place."""
        return self.taken >= self.limit

    @property
    def closed(self) -> bool:
        """There is no free place, and nobody may wait for one."""
        return self.taken >= self.limit and len(self._queue) >= self.queue_limit

    @property
    def waiting(self) -> int:
        """How many are in the queue."""
        return len(self._queue)

    async def enter(self) -> None:
        """Takes a place, or waits in the queue for one; raises QueueFull when that is full or too slow."""
        if self.taken < self.limit:
            self.taken += 1
            return
        if len(self._queue) >= self.queue_limit:
            raise queue_full()
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(self.queue_timeout_ms / 1000):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.leave()  # the place came in the same moment
            elif turn in self._queue:
                self._queue.remove(turn)
            if isinstance(error, TimeoutError):
                raise queue_full() from None
            raise

    def leave(self) -> None:
        """Gives the place back, or on to the first who waits."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken -= 1


async def sit(several: Sequence[Places]) -> None:
    """Takes a place in each; raises QueueFull, and then has taken none."""
    taken: list[Places] = []
    try:
        for places in several:
            await places.enter()
            taken.append(places)
    except BaseException:
        rise(taken)
        raise


def rise(several: Sequence[Places]) -> None:
    """Gives them back."""
    for places in several:
        places.leave()


def queue_full() -> QueueFull:
    """What a client is told when there is no room for it."""
    return QueueFull(
        "Too many requests are waiting for this model. Try again shortly.", retry_after_ms=BUSY_RETRY_MS
    )
