"""A real server with a test's own handlers, and a client that sends exactly the bytes a test gives it.

Knows the wire and the edge's public names; what is served is the test's affair.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from headgate.core.settings import Server as Settings
from headgate.edge.connection import Connection
from headgate.edge.exchange import Exchange
from headgate.edge.route import Handler, Route, Routes
from headgate.edge.server import Server

LIMIT_BYTES = 1_048_576
"""Body limit of the route that `echoing` makes."""

GET = b"GET /echo HTTP/1.1\r\nhost: a\r\n\r\n"


def post(body: bytes, *lines: bytes, path: bytes = b"/echo") -> bytes:
    """A request with a body of known length."""
    head = b"".join(line + b"\r\n" for line in lines)
    return b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n%b\r\n%b" % (path, len(body), head, body)


def chunked(*chunks: bytes, lines: bytes = b"", end: bytes = b"0\r\n\r\n") -> bytes:
    """A request whose body comes in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n%b\r\n%b%b" % (lines, body, end)


@dataclass
class Reply:
    """A reply as it stood on the wire."""

    status: int
    lines: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """The one value of a header, or None."""
        values = [value for line, value in self.lines if line == name]
        assert len(values) < 2, f"{name!r} was sent more than once"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def closes(self) -> bool:
        """The server says that it will close the connection."""
        return self.header(b"connection") == b"close"


class Client:
    """The client's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Sends pieces, each on its own."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def ask(self, request: bytes, *, method: bytes = b"GET") -> Reply:
        """Sends a request and reads the reply to it."""
        await self.send(request)
        return await self.reply(method)

    async def head(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Status and header lines of the next reply; strict about every byte of them."""
        start, *lines = (await self.reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        found = re.fullmatch(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [A-Za-z -]+", start)
        assert found, start
        headers = []
        for line in lines:
            parts = re.fullmatch(rb"([a-z0-9-]+): ([\x20-\x7e]*)", line)
            assert parts, line
            headers.append((parts[1], parts[2]))
        return int(found[1]), headers

    async def reply(self, method: bytes = b"GET") -> Reply:
        """The next reply, whole."""
        status, lines = await self.head()
        reply = Reply(status, lines, b"")
        length, coding = reply.header(b"content-length"), reply.header(b"transfer-encoding")
        assert length is None or coding is None
        if method == b"HEAD" or status in (204, 304) or status < 200:
            return reply
        if coding is not None:
            assert coding == b"chunked"
            reply.body = b"".join([chunk async for chunk in self.chunks()])
        elif length is not None:
            reply.body = await self.reader.readexactly(int(length))
        else:
            reply.body = await self.reader.read()
        return reply

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks of a reply's body, until the one that ends it."""
        while True:
            size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
            data = await self.reader.readexactly(size + 2)
            assert data[-2:] == b"\r\n"
            if size == 0:
                return
            yield data[:-2]

    async def ended(self) -> bytes:
        """Waits for the server to close; returns what it still sent."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    def stop_reading(self) -> None:
        """Leaves what comes to the kernel, until its buffers are full."""
        cast("asyncio.Transport", self.writer.transport).pause_reading()

    def read_on(self) -> None:
        cast("asyncio.Transport", self.writer.transport).resume_reading()

    def finish(self) -> None:
        """Ends this side only: a FIN."""
        self.writer.write_eof()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Breaks the connection: the other side meets ECONNRESET."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Seen:
    """One request as a handler saw it."""

    method: bytes
    target: bytes
    lines: list[tuple[bytes, bytes]]
    body: bytes
    parameter: str


@dataclass
class Service:
    """A running server, and what reached its handlers."""

    server: Server
    port: int
    tls: ssl.SSLContext | None = None
    seen: list[Seen] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)

    async def connect(self, *, receive_bytes: int = 0) -> Client:
        """A new connection; `receive_bytes` makes the kernel's buffer for it small."""
        raw = socket.socket()
        if receive_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.port))
        name = "localhost" if self.tls else None
        client = Client(
            *await asyncio.open_connection(sock=raw, ssl=self.tls, server_hostname=name, limit=2**26)
        )
        self.clients.append(client)
        return client

    async def ask(self, request: bytes) -> Reply:
        """One request on a connection of its own."""
        client = await self.connect()
        try:
            return await client.ask(request)
        finally:
            client.close()

    @property
    def connection(self) -> Connection:
        """The server's end of the only connection."""
        (connection,) = self.server.connections
        return connection


Answer = Callable[[Exchange], Awaitable[None]]


def recorded(seen: list[Seen], answer: Answer) -> Handler:
    """A handler that notes that it was reached, and then lets `answer` answer."""

    async def handle(exchange: Exchange) -> None:
        seen.append(Seen(exchange.method, exchange.target, exchange.lines, b"", exchange.parameter))
        await answer(exchange)

    return handle


def echo(seen: list[Seen]) -> Handler:
    """A handler that notes each request, and answers with its number and body."""

    async def handle(exchange: Exchange) -> None:
        body = await exchange.body()
        seen.append(Seen(exchange.method, exchange.target, exchange.lines, body, exchange.parameter))
        exchange.reply(200, b"content-type: text/plain\r\nx-number: %d\r\n" % len(seen), body)

    return handle


@asynccontextmanager
async def serving(
    *routes: Route,
    tls: ssl.SSLContext | None = None,
    trust: ssl.SSLContext | None = None,
    seen: list[Seen] | None = None,
    **settings: Any,
) -> AsyncIterator[Service]:
    """A server with these routes on a free port while the block runs; `settings` are not range-checked."""
    server = Server(Routes(routes), msgspec.structs.replace(Settings(), **settings))
    _, port = await server.listen("127.0.0.1", 0, tls)
    service = Service(server, port, trust, [] if seen is None else seen)
    try:
        yield service
    finally:
        for client in service.clients:
            client.writer.transport.abort()
        await server.stop(0)
        assert not server.connections


@asynccontextmanager
async def echoing(
    *, tls: ssl.SSLContext | None = None, trust: ssl.SSLContext | None = None, **settings: Any
) -> AsyncIterator[Service]:
    """A server that echoes on GET and POST /echo."""
    seen: list[Seen] = []
    handler = echo(seen)
    routes = Route("GET", "/echo", handler), Route("POST", "/echo", handler, LIMIT_BYTES)
    async with serving(*routes, tls=tls, trust=trust, seen=seen, **settings) as service:
        yield service


@asynccontextmanager
async def answering(
    answer: Answer, *, limit_bytes: int = LIMIT_BYTES, **settings: Any
) -> AsyncIterator[Service]:
    """A server where `answer` answers GET and POST /echo."""
    seen: list[Seen] = []
    handler = recorded(seen, answer)
    routes = Route("GET", "/echo", handler), Route("POST", "/echo", handler, limit_bytes)
    async with serving(*routes, seen=seen, **settings) as service:
        yield service


async def until(condition: Callable[[], bool]) -> None:
    """Gives the loop turns until something is so; the test's own time limit ends it."""
    while not condition():
        await asyncio.sleep(0.001)


class _LaterLoop:
    """The loop, with another idea of the time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds

    def time(self) -> float:
        return self._loop.time() + self._seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


def let_pass(service: Service, seconds: float) -> None:
    """Lets the server believe that it is so many seconds later, and look at its limits."""
    server = service.server
    assert server._ticker is not None
    server._ticker.cancel()
    server.loop = cast("asyncio.AbstractEventLoop", _LaterLoop(asyncio.get_running_loop(), seconds))
    server._tick()
