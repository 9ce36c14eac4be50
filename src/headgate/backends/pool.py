"""Keep-alive connections to one address: which are idle, how many, and the clock that ends the quiet ones.

Must not know what is asked, nor how a connection is made or framed.
"""

from __future__ import annotations

import asyncio
import ssl

import msgspec

from headgate.backends.connect import connect, tls_context
from headgate.backends.connection import Connection
from headgate.backends.proxy import Proxy
from headgate.backends.reply import Reply
from headgate.core.address import Address
from headgate.core.cut import Pieces
from headgate.core.errors import ConnectFailed


class Limits(msgspec.Struct, frozen=True):
    """How long and how much a pool waits for its upstream."""

    connect_timeout_ms: int = 10_000
    """Names, TCP, tunnel and TLS together: a slow handshake across the world takes about one second."""
    first_byte_timeout_ms: int = 600_000
    """From the request to the first byte of the reply: long answers that are not streamed take minutes."""
    idle_timeout_ms: int = 300_000
    """Between two bytes of a reply: models pause to think, but not for ever."""
    keep_alive_ms: int = 55_000
    """How long a connection may lie idle: most servers close theirs after 60 s or more, and the pool must
    be first, or a request meets a connection that is just closing. `keep-alive: timeout=` shortens it."""
    idle_connections: int = 256
    """Kept for later; more are opened when needed, then closed."""


TICKS_PER_LIMIT = 8
"""The clock ticks this often within the shortest limit, so a limit is overrun by an eighth at most ..."""

TICK_RANGE_MS = (10, 1000)
"""... but no quicker than the machine's timers are good for, and at least once a second."""


class Pool:
    """The `headgate.core.ports.Pool` over HTTP/1.1."""

    def __init__(
        self,
        address: Address,
        *,
        limits: Limits | None = None,
        proxy: Proxy | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address = address
        self._limits = limits = limits or Limits()
        self._proxy = proxy
        self._tls = (tls or tls_context()) if address.tls else None
        self._idle: list[Connection] = []
        """The most recently used is last: it goes out first, and the others can expire."""
        self._all: set[Connection] = set()
        self._closed = False
        self._clock: asyncio.TimerHandle | None = None
        shortest_ms = min(limits.first_byte_timeout_ms, limits.idle_timeout_ms, limits.keep_alive_ms)
        low_ms, high_ms = TICK_RANGE_MS
        self._tick_ms = max(low_ms, min(high_ms, shortest_ms // TICKS_PER_LIMIT))

    def __repr__(self) -> str:
        return f"Pool({self._address!r})"

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return len(self._idle)

    @property
    def open(self) -> int:
        """How many connections there are, idle and busy."""
        return len(self._all)

    async def send(self, head: bytes, body: bytes | Pieces, *, fresh: bool = False) -> Reply:
        """Sends one request and returns when the reply's head has arrived (`core.ports.Pool.send`)."""
        if fresh or not self._idle:
            connection = await self._open()
        else:
            connection = self._idle.pop()
        try:
            return await connection.ask(head, body)
        except BaseException:
            connection.abort()
            raise

    async def close(self) -> None:
        """Closes the idle connections now, and each busy one after its reply; refuses new requests."""
        self._closed = True
        for connection in [*self._idle]:
            connection.abort()

    # --- told by connections --------------------------------------------------------------------------

    def keep(self, connection: Connection) -> None:
        """A connection is free for another request."""
        if self._closed or len(self._idle) >= self._limits.idle_connections:
            connection.abort()
        else:
            self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    # --- inside ---------------------------------------------------------------------------------------

    async def _open(self) -> Connection:
        if self._closed:
            raise ConnectFailed("connect: the pool is closed")
        connection = await connect(
            self._address,
            self._make,
            proxy=self._proxy,
            tls=self._tls,
            timeout_ms=self._limits.connect_timeout_ms,
        )
        self._all.add(connection)
        if self._clock is None:
            self._start_clock()
        return connection

    def _make(self) -> Connection:
        return Connection(self, asyncio.get_running_loop(), self._limits.keep_alive_ms)

    def _start_clock(self) -> None:
        self._clock = asyncio.get_running_loop().call_later(self._tick_ms / 1000, self._tick)

    def _tick(self) -> None:
        limits = self._limits
        for connection in [*self._all]:
            connection.tick(self._tick_ms, limits.first_byte_timeout_ms, limits.idle_timeout_ms)
        if self._all:
            self._start_clock()
        else:
            self._clock = None
