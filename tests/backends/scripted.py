"""An upstream that does exactly what a test tells it to, byte for byte, on a real socket.

Knows nothing of the pool; `pooled` at the end is the one place where both meet.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import cast

from headgate.backends.pool import Limits, Pool
from headgate.backends.proxy import Proxy
from headgate.core.address import Address

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET /v1/models HTTP/1.1\r\nhost: upstream\r\n\r\n"


def post(body: bytes, method: bytes = b"POST") -> bytes:
    """A request head that announces a body."""
    return b"%b / HTTP/1.1\r\nhost: upstream\r\ncontent-length: %d\r\n\r\n" % (method, len(body))


class Line:
    """The upstream's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.requests = 0

    async def request(self) -> bytes:
        """The next request, head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: ([0-9]+)", head)
        body = await self.reader.readexactly(int(length[1])) if length else b""
        self.requests += 1
        return head + body

    async def send(self, *pieces: bytes) -> None:
        """Sends pieces, each on its own."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def gone(self) -> None:
        """Waits until the other side has closed the connection."""
        try:
            while await self.reader.read(65_536):
                pass
        except ConnectionError:
            pass

    def stop_reading(self) -> None:
        """Leaves what comes to the kernel, until its buffers are full."""
        cast("asyncio.Transport", self.writer.transport).pause_reading()

    def shut_down(self) -> None:
        """Closes both ways in the kernel at once: the other side's loop has had no turn to see it."""
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as raw:
            raw.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends the connection properly."""
        self.writer.close()

    def reset(self) -> None:
        """Breaks the connection: the other side meets ECONNRESET."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def answering(line: Line) -> None:
    """A script: answers every request."""
    while True:
        await line.request()
        await line.send(OK)


async def silent(line: Line) -> None:
    """A script: never answers."""
    await line.gone()


Script = Callable[[Line], Awaitable[None]]


class Upstream:
    """A listening socket; every connection to it runs the script, and is closed when the script ends."""

    def __init__(self, script: Script) -> None:
        self.address = Address()
        self.lines: list[Line] = []
        self._script = script
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return self.address.port

    async def listen(
        self, unix: str = "", tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        """Starts to listen, on a free port or a Unix socket."""
        if unix:
            self._server = await asyncio.start_unix_server(self._accept, unix)
            self.address = Address(socket_path=unix)
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=tls)
            port = self._server.sockets[0].getsockname()[1]
            self.address = Address(host, port, tls is not None)

    async def ended(self) -> None:
        """Waits until every script so far has ended, which most do when their connection is closed."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> None:
        """Stops; a script that failed fails the test here."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, (EOFError, ConnectionError)):
                raise outcome

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        self.lines.append(line)
        self._tasks.add(asyncio.ensure_future(self._run(line)))

    async def _run(self, line: Line) -> None:
        try:
            await self._script(line)
        finally:
            line.writer.close()


@asynccontextmanager
async def scripted(
    script: Script, unix: str = "", tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Upstream]:
    """An upstream that is up while the block runs."""
    upstream = Upstream(script)
    await upstream.listen(unix, tls, host)
    try:
        yield upstream
    finally:
        await upstream.stop()


@asynccontextmanager
async def pooled(
    address: Address,
    *,
    proxy: Proxy | None = None,
    tls: ssl.SSLContext | None = None,
    **limits: int,
) -> AsyncIterator[Pool]:
    """A pool for one address, closed at the end."""
    pool = Pool(address, limits=Limits(**limits), proxy=proxy, tls=tls)
    try:
        yield pool
    finally:
        await pool.close()


async def ask(pool: Pool, *, fresh: bool = False) -> bytes:
    """One whole exchange."""
    reply = await pool.send(GET, b"", fresh=fresh)
    try:
        return await reply.read(1000)
    finally:
        reply.close()


async def until(condition: Callable[[], bool]) -> None:
    """Gives the loop turns until something is so; the test's own time limit ends it."""
    while True:
        if condition():
            return
        await asyncio.sleep(0.001)


def open_sockets() -> int:
    """How many sockets this process has open."""
    sockets = 0
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 -- names, not paths
        try:
            sockets += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
        except OSError:
            pass  # the one that listed the others
    return sockets


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port that takes no more connections and refuses none: connecting hangs."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
