"""Puts the work of several requests together, so that a model is run on many rows at once.

Each request has its turn: one with a single row does not wait for the end of one with two thousand. Must not
know what is computed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from headgate.engines.program import Worker

ROWS = 32
"""Run at once: above it a CPU gains nothing more."""

WINDOW = 4 * ROWS
"""Rows that are sorted by length before they are run: padding is work for nothing."""

PADDED = 8192
"""Tokens in one run, padding included: what a layer's intermediate values take stays under 100 MB."""

Row = TypeVar("Row", bound=Sequence[int])
Result = TypeVar("Result")


class _Order(Generic[Row, Result]):
    """What one request wants, and what it has got so far."""

    def __init__(self, rows: Sequence[Row], done: asyncio.Future[None]) -> None:
        self.rows = rows
        self.waiting = deque(range(len(rows)))
        self.results: list[Result | None] = [None] * len(rows)
        self.missing = len(rows)
        self.done = done


class Batches(Generic[Row, Result]):
    """Runs `compute` in one thread, on rows of any requests that wait."""

    def __init__(self, compute: Callable[[Sequence[Row]], Sequence[Result]]) -> None:
        self._compute = compute
        self._worker = Worker("batches")
        self._orders: deque[_Order[Row, Result]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def results(self, rows: Sequence[Row]) -> list[Result]:
        """One result for each row. Cancelled, what has not been run yet never will be."""
        order = _Order[Row, Result](rows, asyncio.get_running_loop().create_future())
        self._orders.append(order)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            await order.done
        finally:
            order.waiting.clear()
        return order.results  # type: ignore[return-value]  # none is missing

    async def _run(self) -> None:
        while self._orders:
            picked = self._pick()
            for batch in _cut(picked):
                # Whoever has left in the meantime is not worked for.
                wanted = [(order, row) for order, row in batch if not order.done.done()]
                if wanted:
                    await self._run_batch(wanted)
        self._task = None

    async def _run_batch(self, batch: list[tuple[_Order[Row, Result], int]]) -> None:
        try:
            found = await self._worker.do(self._compute, [order.rows[row] for order, row in batch])
        except Exception as error:  # noqa: BLE001  # the end of a task: whoever waits is told
            for order, _ in batch:
                order.waiting.clear()
                if not order.done.done():
                    order.done.set_exception(error)
            return
        for (order, row), result in zip(batch, found, strict=True):
            order.results[row] = result
            order.missing -= 1
            if not order.missing and not order.done.done():
                order.done.set_result(None)

    def _pick(self) -> list[tuple[_Order[Row, Result], int]]:
        """The next rows: some of each request, in turn."""
        picked: list[tuple[_Order[Row, Result], int]] = []
        while self._orders and len(picked) < WINDOW:
            order = self._orders.popleft()
            share = max(1, min(ROWS, WINDOW - len(picked)))
            picked += [(order, order.waiting.popleft()) for _ in range(min(share, len(order.waiting)))]
            if order.waiting:
                self._orders.append(order)
        return picked


def _cut(
    picked: list[tuple[_Order[Row, Result], int]],
) -> list[list[tuple[_Order[Row, Result], int]]]:
    """Rows of similar lengths together, the short ones first."""
    batches: list[list[tuple[_Order[Row, Result], int]]] = []
    for order, row in sorted(picked, key=lambda item: len(item[0].rows[item[1]])):
        length = len(order.rows[row])
        if not batches or len(batches[-1]) >= ROWS or (len(batches[-1]) + 1) * length > PADDED:
            batches.append([])
        batches[-1].append((order, row))
    return batches
