"""Ticks for streams, so that quiet ones can say that they are there. One timer for all: there are many."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

log = logging.getLogger("headgate.gateway")


class Quiet(Protocol):
    """A stream that may have to say that it is still there."""

    def tick(self, step_ms: int) -> None:
        """Called every `step_ms` milliseconds."""
        ...


class Pulse:
    """Ticks every stream that is open."""

    def __init__(self, step_ms: int) -> None:
        self._step_ms = step_ms
        self._streams: set[Quiet] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, stream: Quiet) -> None:
        """Starts ticking a stream."""
        self._streams.add(stream)
        if self._timer is None:
            self._arm()

    def discard(self, stream: Quiet) -> None:
        """Stops ticking it."""
        self._streams.discard(stream)

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._step_ms / 1000, self._tick)

    def _tick(self) -> None:
        self._timer = None
        for stream in list(self._streams):
            try:
                stream.tick(self._step_ms)
            except Exception:  # a timer is a boundary as a task is: one stream's fault is not the others'
                log.exception("a quiet stream could not be told from a dead one")
        if self._streams:
            self._arm()
