"""One client connection: HTTP/1.1 parsing, keep-alive, pipelining, hang-ups and time limits.

Reading stays on while a reply is pending, for a hang-up has to be seen at once; a FIN counts as one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from headgate.core.errors import ApiError, BadRequest, InternalError, Overloaded, RequestTimeout
from headgate.edge import wire
from headgate.edge.exchange import Exchange, too_large
from headgate.edge.limits import LINGER_S, PIPELINED, WRITE_BUFFER_BYTES
from headgate.edge.route import Route, parameter

if TYPE_CHECKING:
    from headgate.edge.server import Server

log = logging.getLogger("headgate.edge")

NEVER = float("inf")


class Connection(asyncio.Protocol):
    """The protocol of one accepted socket; also the parser's callback object."""

    __slots__ = (
        "_arrival",
        "_closing",
        "_current",
        "_deaf",
        "_drained",
        "_fed_bytes",
        "_in_head",
        "_lines",
        "_long_read",
        "_parser",
        "_paused_reading",
        "_pieces",
        "_queue",
        "_receiving",
        "_url",
        "_worker",
        "deadline_s",
        "loop",
        "on_body",
        "server",
        "transport",
        "writing_paused",
    )

    def __init__(self, server: Server) -> None:
        self.server = server
        self.loop = server.loop
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.deadline_s = NEVER
        """On the server's coarse clock."""
        self.writing_paused = False
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        """Called by the parser, straight into the list: no Python frame for each piece."""
        self._parser = httptools.HttpRequestParser(self)
        self._lines: list[tuple[bytes, bytes]] = []
        self._url = b""
        self._fed_bytes = 0
        """Bytes of a head that was not complete at the end of a read, but for its first read."""
        self._long_read = False
        """What was read last could hold a head over the limit."""
        self._in_head = False
        self._receiving: Exchange | None = None
        """The request whose body is arriving."""
        self._current: Exchange | None = None
        """The request that is being answered."""
        self._queue: deque[Exchange] = deque()
        self._worker: asyncio.Task[None] | None = None
        """Serves one request after the other: a task for each would cost more than parsing it."""
        self._arrival: asyncio.Future[None] | None = None
        """What the worker waits for between two requests."""
        self._drained: asyncio.Future[None] | None = None
        self._closing = False
        """The connection ends after the current reply."""
        self._deaf = False
        """Nothing that still arrives is looked at."""
        self._paused_reading = False

    # --- the socket -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.server.connections.add(self)
        self.deadline_s = self.server.now_s + self.server.header_timeout_s
        if len(self.server.connections) > self.server.settings.connections:
            self._refuse_and_close(Overloaded("Too many connections.", retry_after_ms=1000))

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._long_read = len(data) > self.server.settings.header_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._broken(BadRequest("The request is not valid HTTP/1.1."))
        if self._receiving is not None:
            self._receiving.receive(self._pieces)
        elif self._in_head:
            self._fed_bytes += len(data)
            if self._fed_bytes - len(data) > self.server.settings.header_bytes:
                self._broken(wire.HeadTooLarge("The request's head is too large."))

    def eof_received(self) -> bool:
        # Half-closed clients exist, but a FIN with a reply pending is how most libraries hang up.
        self._hang_up()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.forget(self)
        self._hang_up()
        self.resume_writing()
        self._parser = cast(httptools.HttpRequestParser, None)  # it points back at us
        del self.on_body

    def pause_writing(self) -> None:
        self.writing_paused = True
        if self._current is not None:
            self._current.pause()

    def resume_writing(self) -> None:
        self.writing_paused = False
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

    # --- the parser's callbacks -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._in_head = True
        self._lines = []
        self._url = b""
        self._fed_bytes = 0
        self.deadline_s = self.server.now_s + self.server.header_timeout_s

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what comes later is a trailer, which nobody here wants
            self._lines.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._deaf:
            return
        parser, server, lines = self._parser, self.server, self._lines
        fields = dict(lines)
        version = parser.get_http_version()
        exchange = Exchange(self, parser.get_method(), version, self._url, lines, fields)
        self._receiving = exchange
        self.deadline_s = server.now_s + server.body_timeout_s
        fault = wire.head_fault(version, fields, lines)
        if self._long_read or self._fed_bytes or len(lines) > server.settings.header_count:
            fault = self._head_too_large() or fault
        if fault is None:
            exchange.keep_alive = not self._closing and parser.should_keep_alive()
            self._direct(exchange)
        else:
            exchange.keep_alive = False
            exchange.refuse(fault)
            self._deaf = True
        if self._current is None:
            self._start(exchange)
        else:
            self._wait_in_line(exchange)

    def on_message_complete(self) -> None:
        exchange = self._receiving
        if exchange is not None:
            self._receiving = None
            exchange.received(self._pieces)
            # Whoever ends the current reply sets the idle limit.
            self.deadline_s = NEVER
            if self._current is None:
                self.deadline_s = self.server.now_s + self.server.idle_timeout_s

    # --- requests ---------------------------------------------------------------------------------

    def _head_too_large(self) -> ApiError | None:
        settings, lines = self.server.settings, self._lines
        size = len(self._url) + sum([len(name) + len(value) for name, value in lines])
        if size > settings.header_bytes or len(lines) > settings.header_count:
            return wire.HeadTooLarge("The request's head is too large.")
        return None

    def _direct(self, exchange: Exchange) -> None:
        """Finds the route and refuses what can be refused by the head alone."""
        fields = exchange.fields
        found = self.server.routes.find(exchange.method, exchange.target)
        if isinstance(found, Route):
            exchange.route = found
            fault = wire.soft_fault(fields)
            limit_bytes = found.body_limit_bytes
            if found.takes_rest:
                exchange.parameter = parameter(found, exchange.path)
        else:
            fault = None if self.server.cors.preflight(exchange) else found
            limit_bytes = 0
        length = fields.get(b"content-length")
        if length is not None:
            exchange.remaining_bytes = int(length)
            if fault is None and exchange.remaining_bytes > limit_bytes:
                fault = too_large(limit_bytes)
        elif b"transfer-encoding" in fields:
            exchange.remaining_bytes = None
        if fault is not None:
            exchange.refuse(fault)

    def _wait_in_line(self, exchange: Exchange) -> None:
        self._queue.append(exchange)
        if len(self._queue) >= PIPELINED and not self._paused_reading:
            # A hang-up goes unseen meanwhile; only a client that floods its pipeline gets here.
            self._paused_reading = True
            self.transport.pause_reading()

    def _start(self, exchange: Exchange) -> None:
        self._current = exchange
        if self._worker is None:
            self._worker = self.loop.create_task(self._work())
        elif self._arrival is not None:
            arrival, self._arrival = self._arrival, None
            arrival.set_result(None)

    async def _work(self) -> None:
        while True:
            exchange = self._current
            if exchange is None:
                self._arrival = self.loop.create_future()
                await self._arrival
                continue
            try:
                if exchange.route is None or exchange.refusal is not None:
                    self.server.answer_directly(exchange)
                else:
                    await exchange.route.handler(exchange)
            except ApiError as error:
                self.server.answer_error(exchange, error)
            except asyncio.CancelledError:
                if not exchange.gone:  # we are the ones who stop
                    self.server.answer_error(exchange, Overloaded("The server is shutting down."))
            except Exception:
                log.exception("request %s failed", exchange.request_id)
                self.server.answer_error(exchange, InternalError("The server had an error. It is logged."))
            if not self._finished(exchange):
                return

    def _finished(self, exchange: Exchange) -> bool:
        """Makes the connection ready for the next request, or ends it; tells which."""
        self._current = None
        if exchange.gone or not exchange.ended:
            # An unended reply cannot be followed by another.
            self.transport.close()
            return False
        if self._closing or not exchange.keep_alive:
            if exchange.complete and not self._deaf:
                self.transport.close()
            else:
                self._linger()
            return False
        if self._queue:
            self._current = self._queue.popleft()
            if self._paused_reading and not self._queue:
                self._paused_reading = False
                self.transport.resume_reading()
        elif self._receiving is None and not self._in_head:
            self.deadline_s = self.server.now_s + self.server.idle_timeout_s
        return True

    def _linger(self) -> None:
        """Ends our side and reads on for a while: closing with unread bytes would reset the reply away."""
        self._deaf = True
        self.deadline_s = self.server.now_s + LINGER_S
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    # --- endings ----------------------------------------------------------------------------------

    def _hang_up(self) -> None:
        self._queue.clear()
        self._deaf = True
        if self._current is not None:
            self._current.gone = True
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.cancel()

    def _broken(self, error: ApiError) -> None:
        """The byte stream is out of step: answers what was asked before, then `error`, then closes."""
        self._deaf = True
        self._in_head = False
        receiving, self._receiving = self._receiving, None
        if receiving is not None:
            receiving.keep_alive = False
            receiving.refuse(error)
        elif self._current is not None:
            self._queue.append(self._stray(error))
        else:
            self._start(self._stray(error))

    def _stray(self, error: ApiError) -> Exchange:
        exchange = Exchange(self, b"GET", "1.1", b"", [], {})
        exchange.keep_alive = False
        exchange.refuse(error)
        return exchange

    def _refuse_and_close(self, error: ApiError) -> None:
        self._deaf = True
        self.server.answer_error(self._stray(error), error)
        self._linger()

    def _decline_upgrade(self, rest: bytes) -> None:
        """Answers in HTTP/1.1 (Java's client offers h2c on every plain connection) and reads on."""
        if self._deaf:
            return
        self._parser = httptools.HttpRequestParser(self)
        if rest:
            self.data_received(rest)

    def expire(self) -> None:
        """Called when the deadline has passed."""
        self.deadline_s = NEVER
        if self._deaf:
            self.transport.abort()
        elif self._receiving is not None or self._in_head:
            self._broken(RequestTimeout("The request did not arrive in time."))
        else:
            self.transport.close()

    def stop(self) -> None:
        """Ends the connection after the reply that is under way, at once if there is none."""
        self._closing = True
        if self._current is None and self._receiving is None:
            self.transport.close()
        elif self._current is not None:
            self._current.keep_alive = False

    def abort(self) -> None:
        """Ends the current request: its stream gets a last event that says why."""
        if self._current is not None and self._worker is not None:
            self._worker.cancel()
        else:
            self.transport.close()
