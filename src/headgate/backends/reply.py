"""One upstream reply: its head, the body bytes that wait, and what its reader wants done with the rest.

Must not know the socket: what it wants of it, it asks of its `Channel`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from headgate.core.errors import ConnectionLost, UpstreamTooLong
from headgate.core.ports import Headers

WAITING_LIMIT_BYTES = 256 * 1024
"""Body bytes that may wait untaken before reading stops: about what one read of the loop brings."""


class Channel(Protocol):
    """What a reply asks of its connection."""

    loop: asyncio.AbstractEventLoop

    def pause(self) -> None:
        """Stops reading."""

    def resume(self) -> None:
        """Reads again."""

    def release(self) -> None:
        """The reply is not needed any longer."""


class Reply:
    """The pool's `headgate.core.ports.Reply`."""

    headers: Headers
    # A reply that came whole never changes these: class attributes cost nothing until then.
    on_bytes: Callable[[bytes], None] | None = None
    """Where body bytes go while somebody pumps."""
    _full = False
    _paused = False
    _error: Exception | None = None
    _end: asyncio.Future[None] | None = None

    def __init__(self, channel: Channel, status: int, head: bytes, body: bytes | None = None) -> None:
        self.status = status
        self.head = head
        """Status line and header lines as they came, without the blank line."""
        self.complete = body is not None
        self._channel: Channel | None = channel
        self._waiting = [body] if body else []
        self._waiting_bytes = len(body) if body else 0

    # --- for the reader -------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Headers:
        # Reached only while the slot is empty: the lines are taken apart when somebody asks, and once.
        if name != "headers":
            raise AttributeError(name)
        self.headers = headers = split_head(self.head)
        return headers

    def header(self, name: bytes) -> bytes | None:
        """The first value of one header (name in lower case), found without taking the others apart."""
        head = self.head
        start = head.lower().find(b"\n%b:" % name)
        if start < 0:
            return None
        start += len(name) + 2
        end = head.find(b"\r", start)
        return (head[start:end] if end >= 0 else head[start:]).strip(b" \t")

    def take(self) -> bytes:
        """The body bytes that have arrived and were not taken yet."""
        waiting = self._waiting
        if not waiting:
            return b""
        data = waiting.pop() if len(waiting) == 1 else b"".join(waiting)
        waiting.clear()
        self._waiting_bytes = 0
        if self._full:
            self._full = False
            if not self._paused and self._channel is not None:
                self._channel.resume()
        return data

    async def pump(self, on_bytes: Callable[[bytes], None]) -> None:
        """Calls `on_bytes` for what arrives, once per socket read, until the body is complete."""
        channel = self._channel
        if channel is None:
            raise ConnectionLost("body: closed by its reader", reused=False, answered=True)
        try:
            if self._waiting:
                on_bytes(self.take())
            if not self.complete and self._error is None:
                self._end = channel.loop.create_future()
                self.on_bytes = on_bytes
                await self._end
            if self._error is not None:
                raise self._error
        except BaseException:
            # Nobody wants the rest: closed now, and so the upstream learns.
            self.close()
            raise
        finally:
            self.on_bytes = None

    async def read(self, limit_bytes: int) -> bytes:
        """The rest of the body; raises UpstreamTooLong when it is longer than the limit."""
        if self.complete and self._waiting_bytes <= limit_bytes:
            return self.take()
        pieces: list[bytes] = []
        room = limit_bytes

        def collect(data: bytes) -> None:
            nonlocal room
            room -= len(data)
            if room < 0:
                raise UpstreamTooLong("body: longer than it may be")
            pieces.append(data)

        await self.pump(collect)
        return b"".join(pieces)

    def pause(self) -> None:
        """Stops reading from the upstream's socket until `resume`."""
        self._paused = True
        if self._channel is not None:
            self._channel.pause()

    def resume(self) -> None:
        """Reads again."""
        self._paused = False
        if not self._full and self._channel is not None:
            self._channel.resume()

    def close(self) -> None:
        """Gives a complete reply's connection back and closes any other at once."""
        channel = self._channel
        if channel is not None:
            self._channel = None
            channel.release()

    # --- for the connection ---------------------------------------------------------------------------

    def hold(self, body: bytes) -> None:
        """Keeps body bytes until they are taken; stops reading when too many wait."""
        self._waiting.append(body)
        self._waiting_bytes += len(body)
        if self._waiting_bytes > WAITING_LIMIT_BYTES and not self.complete and self._channel is not None:
            self._full = True
            self._channel.pause()

    def finish(self) -> None:
        """Nothing more will come: whoever pumps goes on."""
        end = self._end
        if end is not None and not end.done():
            end.set_result(None)

    def fail(self, error: Exception) -> None:
        """The body will never be complete."""
        if self._error is None:
            self._error = error
        self.finish()

    def refuse(self, error: Exception) -> None:
        """Its reader could not take the bytes; what it raised goes before any other error."""
        self._error = error
        self.on_bytes = None
        self.finish()


def split_head(head: bytes) -> list[tuple[bytes, bytes]]:
    """Header lines of a head that the parser has checked: names in lower case, values without blanks."""
    headers = []
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip(b" \t")))
    return headers


def ends_with_connection(head: bytes) -> bool:
    """Whether a body has neither a length nor chunks, so that only the end of the connection ends it."""
    for name, value in split_head(head):
        if name == b"content-length":
            return False
        if name == b"transfer-encoding" and value.lower().endswith(b"chunked"):
            return False
    return True


def ends_exactly(data: bytes, pieces: list[bytes]) -> bool:
    """Whether the read that completed a reply held no empty line after it, as far as that is cheap to see.

    (The parser refuses anything else after a reply, but skips empty lines.) `pieces` are the body bytes in
    `data`. "No" costs one new connection, so the rare ways to end, such as trailers, may be taken for it.
    """
    if pieces and data.endswith(pieces[-1]):
        return True
    return data.endswith(b"0\r\n\r\n") or data.find(b"\r\n\r\n") == len(data) - 4
