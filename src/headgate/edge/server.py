"""The listening side: accepts connections, keeps the coarse clock, stops gracefully.

Must not know what is served: that is in the routes it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from email.utils import formatdate
from ipaddress import ip_network

from headgate.core.errors import ApiError
from headgate.core.observer import Observer
from headgate.core.settings import Server as ServerSettings
from headgate.edge.connection import Connection
from headgate.edge.cors import Cors
from headgate.edge.exchange import Exchange
from headgate.edge.limits import BACKLOG, LINGER_S, TICK_S
from headgate.edge.route import Routes

JSON = b"content-type: application/json\r\n"


class Server:
    """An HTTP/1.1 server on one address."""

    def __init__(self, routes: Routes, settings: ServerSettings) -> None:
        self.routes = routes
        self.observer: Observer | None = None
        """Told of every request that has been answered."""
        self.connections: set[Connection] = set()
        self.configure(settings)
        self.loop = asyncio.get_running_loop()
        self.now_s = 0.0
        self.date_header = b""
        self._listeners: list[asyncio.AbstractServer] = []
        self._ticker: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Event | None = None
        self._tick()

    def configure(self, settings: ServerSettings) -> None:
        """Takes new limits, for connections that are open too."""
        self.settings = settings
        self.cors = Cors(settings.cors_origins)
        self.trusted = tuple(ip_network(network) for network in settings.trusted_proxies)
        # The coarse clock may be a step behind: without it, a limit could end early.
        self.header_timeout_s = settings.header_timeout_ms / 1000 + TICK_S
        self.body_timeout_s = settings.body_timeout_ms / 1000 + TICK_S
        self.idle_timeout_s = settings.idle_timeout_ms / 1000 + TICK_S
        for connection in self.connections:
            connection.forget_head()

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> tuple[str, int]:
        """Starts accepting; returns the address and port really bound (port 0 takes a free one)."""
        listener = await self.loop.create_server(
            lambda: Connection(self),
            host,
            port,
            ssl=tls,
            backlog=BACKLOG,
            reuse_address=True,
            ssl_handshake_timeout=self.header_timeout_s if tls else None,
            ssl_shutdown_timeout=LINGER_S if tls else None,
        )
        self._listeners.append(listener)
        bound = listener.sockets[0].getsockname()
        return bound[0], bound[1]

    async def stop(self, grace_s: float) -> None:
        """Stops accepting, lets replies under way end within `grace_s`, then ends them."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            connection.stop()
        await self._wait_until_empty(grace_s)
        for connection in list(self.connections):
            connection.abort()
        await self._wait_until_empty(LINGER_S)
        for connection in list(self.connections):
            connection.transport.abort()
        if self._ticker is not None:
            self._ticker.cancel()

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if not self.connections and self._emptied is not None:
            self._emptied.set()

    async def _wait_until_empty(self, limit_s: float) -> None:
        if not self.connections:
            return
        self._emptied = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._emptied.wait(), limit_s)

    def is_preflight(self, exchange: Exchange) -> bool:
        """Whether a request without a route of its own is a browser's question before another."""
        return exchange.method == b"OPTIONS" and bool(self.routes.methods(exchange.path))

    def answer_directly(self, exchange: Exchange) -> None:
        """Answers a request that reaches no handler: a refusal or a preflight."""
        if exchange.refusal is not None:
            self.answer_error(exchange, exchange.refusal)
        else:
            exchange.reply(204, self.cors.preflight(self.routes.methods(exchange.path), exchange.fields), b"")

    def answer_error(self, exchange: Exchange, error: ApiError) -> None:
        """Tells the client about `error`: as a reply, or as the last event of a stream that has begun."""
        exchange.failure = error
        if exchange.gone or exchange.ended:
            return
        if exchange.begun:
            if exchange.is_event_stream:
                exchange.finish(error.event())
            return  # any other reply is cut off: whatever we added would be taken for a part of it
        headers = b"".join((JSON, *(b"%b: %b\r\n" % line for line in error.headers())))
        if error.status == 405 and exchange.path:
            allowed = b", ".join(sorted(self.routes.methods(exchange.path)))
            headers += b"allow: %b\r\n" % allowed
        exchange.reply(error.status, headers, error.body())

    def _tick(self) -> None:
        self.now_s = now_s = self.loop.time()
        self.date_header = b"date: %b\r\n" % formatdate(time.time(), usegmt=True).encode()
        for connection in list(self.connections):
            if connection.deadline_s < now_s:
                connection.expire()
            if connection.stall_s < now_s:
                connection.check_stall()
        self._ticker = self.loop.call_later(TICK_S, self._tick)
