"""Looks how late the event loop comes: whatever blocks it holds up every stream at once."""

from __future__ import annotations

import asyncio
import time

from headgate.telemetry.counters import Histogram

INTERVAL_S = 0.25
"""Four looks a second cost nothing, and meet a loop that is often blocked."""


class LagWatch:
    """Counts the lateness of a timer into a histogram, until it is stopped."""

    def __init__(self, lag: Histogram) -> None:
        self._lag = lag
        self._loop = asyncio.get_running_loop()
        self._start()

    def stop(self) -> None:
        """Looks no more."""
        self._timer.cancel()

    def _start(self) -> None:
        # Not the loop's own clock: that one stands still while something blocks.
        self._due_s = time.perf_counter() + INTERVAL_S
        self._timer = self._loop.call_later(INTERVAL_S, self._look)

    def _look(self) -> None:
        self._lag.add(max(0.0, time.perf_counter() - self._due_s))
        self._start()
