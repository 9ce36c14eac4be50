"""The writing side of a client connection: back-pressure, readers that stall, and endings that lose no reply.

Must not know how requests are read.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from headgate.edge.exchange import Exchange
from headgate.edge.limits import LINGER_MOST_S, LINGER_S, STALL_S

NEVER = float("inf")


class Clock(Protocol):
    """What is needed of the server: its loop and its coarse clock."""

    loop: asyncio.AbstractEventLoop
    now_s: float


class Outflow(asyncio.Protocol):
    """What is sent to one client, and how sending to it ends."""

    __slots__ = (
        "_current", "_deaf", "_drained", "_lingers_until_s", "_unsent_bytes", "deadline_s", "loop", "server",
        "stall_s", "transport", "writing_paused",
    )  # fmt: skip

    def __init__(self, server: Clock) -> None:
        self.server = server
        self.loop = server.loop
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.deadline_s = NEVER
        """When the client has to have sent something; on the server's coarse clock."""
        self.stall_s = NEVER
        """When a client that does not read has to have taken something; on the same clock."""
        self.writing_paused = False
        self._current: Exchange | None = None
        """The request that is being answered."""
        self._drained: asyncio.Future[None] | None = None
        self._unsent_bytes = 0
        self._deaf = False
        """Nothing that still arrives is looked at."""
        self._lingers_until_s = 0.0
        """When lingering ends at the latest; 0 while there is none."""

    def pause_writing(self) -> None:
        self.writing_paused = True
        self._watch_unsent()
        if self._current is not None:
            self._current.pause()

    def resume_writing(self) -> None:
        self.writing_paused = False
        self.stall_s = NEVER
        if self._current is not None:
            self._current.resume()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def send(self, data: bytes) -> None:
        """Queues bytes for the client; after it has gone they go nowhere."""
        if not self.transport.is_closing():
            self.transport.write(data)

    async def writable(self) -> None:
        """Waits until the client has taken most of what was sent."""
        if self.writing_paused and not self.transport.is_closing():
            self._drained = self.loop.create_future()
            await self._drained

    def _watch_unsent(self) -> None:
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self.stall_s = self.server.now_s + STALL_S

    def check_stall(self) -> None:
        """Called when `stall_s` has passed: a client that took nothing in that time is given up."""
        if 0 < self._unsent_bytes <= self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self._watch_unsent()

    def _linger(self) -> None:
        """Ends our side and reads on for a while: closing with unread bytes would reset the reply away."""
        self._deaf = True
        self.deadline_s = self.server.now_s + LINGER_S
        self._lingers_until_s = self.server.now_s + LINGER_MOST_S
        if self.transport.can_write_eof():  # not with TLS
            self.transport.write_eof()

    def _linger_on(self) -> None:
        if self._lingers_until_s:
            self.deadline_s = min(self.server.now_s + LINGER_S, self._lingers_until_s)

    def _close(self) -> None:
        """Closes as soon as the client has taken what was sent."""
        if not self.writing_paused:
            self._watch_unsent()
        self.transport.close()
