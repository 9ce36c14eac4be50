"""One client connection: HTTP/1.1 parsing, keep-alive, pipelining, hang-ups and time limits.

Reading stays on while a reply is pending, for a hang-up has to be seen at once; a FIN counts as one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import cast

import httptools

from headgate.core.errors import ApiError, BadRequest, InternalError, Overloaded, RequestTimeout
from headgate.edge import wire
from headgate.edge.direct import direct
from headgate.edge.exchange import Exchange, stray
from headgate.edge.head import Head, KnownHead, known_head
from headgate.edge.host import Host
from headgate.edge.limits import (
    BITE_BYTES,
    FULL_BYTES,
    LEARNINGS,
    PIPELINED,
    REFUSED_CONNECTIONS,
    WRITE_BUFFER_BYTES,
)
from headgate.edge.outflow import NEVER, Outflow

log = logging.getLogger("headgate.edge")


class Connection(Outflow):
    """The protocol of one accepted socket; also the parser's callback object."""

    __slots__ = (
        "_arrival", "_biting", "_closing", "_declined", "_fed_bytes", "_held", "_in_head", "_known",
        "_learnings", "_lines", "_long_read", "_parser", "_paused_reading", "_pieces", "_queue", "_receiving",
        "_resting", "_url", "_worker", "on_body",
    )  # fmt: skip

    server: Host

    def __init__(self, server: Host) -> None:
        super().__init__(server)
        self._known: KnownHead | None = None
        """A head that came, if it was a simple one."""
        self._learnings = 0
        self._resting = True
        """Nothing has come of the next request, and none is being answered."""
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        """Called by the parser, straight into the list: no Python frame for each piece."""
        self._parser = httptools.HttpRequestParser(self)
        self._lines: list[tuple[bytes, bytes]] = []
        self._url = b""
        self._fed_bytes = 0
        """Length of the reads since a head's or a body's last piece began, but for the first one."""
        self._long_read = False
        """What was read last could hold a head over the limit."""
        self._in_head = False
        self._biting = False
        """A long read is being parsed in bites."""
        self._held = b""
        """Read, but not parsed yet: enough requests wait."""
        self._declined: Exchange | None = None
        """A request that offered an upgrade, where the parser stopped after its head."""
        self._receiving: Exchange | None = None
        """The request whose body is arriving."""
        self._queue: deque[Exchange] = deque()
        self._worker: asyncio.Task[None] | None = None
        """Serves one request after the other: a task for each would cost more than parsing it."""
        self._arrival: asyncio.Future[None] | None = None
        """What the worker waits for between two requests."""
        self._closing = False
        """The connection ends after the current reply."""
        self._paused_reading = False

    # --- the socket -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.server.connections.add(self)
        self.deadline_s = self.server.now_s + self.server.header_timeout_s
        excess = len(self.server.connections) - self.server.settings.connections
        if excess > REFUSED_CONNECTIONS:
            self.transport.abort()
        elif excess > 0:
            error = Overloaded("Too many connections.", retry_after_ms=1000)
            self.server.answer_error(stray(self, error), error)
            self._linger()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._linger_on()
            return
        resting, known = self._resting, self._known
        if resting and known is not None:
            body = known.body(data)
            if body is not None:
                self._resting = False
                self.deadline_s = NEVER
                self._start(Exchange(self, known.head, body))
                return
        if len(data) > BITE_BYTES and not self._biting:
            self._bite(data)
            return
        self._long_read = len(data) > self.server.settings.header_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserCallbackError:
            log.exception("a request's head could not be handled")
            self.transport.abort()
            return
        except httptools.HttpParserError:
            self._broken(BadRequest("The request is not valid HTTP/1.1."))
        receiving = self._receiving
        if receiving is not None and self._pieces:
            self._fed_bytes = 0
            receiving.receive(self._pieces)
            if receiving is not self._current and self._queue:
                self._pause_reading()
        elif self._in_head or receiving is not None:
            self._count(len(data))
        elif resting and self._current is not None and not self._queue:
            self._learn(self._current, data)

    def _learn(self, exchange: Exchange, data: bytes) -> None:
        """Keeps the head of a request that was a read of its own, in case it comes again."""
        good = exchange.route is not None and exchange.refusal is None and exchange.keep_alive
        if good and self._learnings < LEARNINGS and not self._long_read:
            self._learnings += 1
            self._known = known_head(exchange.head, data)

    def forget_head(self) -> None:
        """What a head may hold has changed."""
        self._known = None

    def _bite(self, data: bytes) -> None:
        """Parses a long read in bites, to stop as soon as enough requests wait: it may hold thousands."""
        self._biting = True
        position = 0
        while position < len(data) and not (self._deaf or self._paused_reading):
            rest_bytes = self._receiving.remaining_bytes if self._receiving is not None else None
            start, position = position, position + max(BITE_BYTES, rest_bytes or 0)
            self.data_received(data[start:position])
        self._biting = False
        if self._paused_reading:
            self._held = data[position:]
        elif len(data) >= FULL_BYTES:
            self.transport.pause_reading()
            self.loop.call_soon(self.transport.resume_reading)

    def _count(self, size: int) -> None:
        """Ends a head or trailer without end; its first read, where others' bytes may stand, is left out."""
        self._fed_bytes = self._fed_bytes + size if self._fed_bytes else 1
        if self._fed_bytes > self.server.settings.header_bytes:
            self._broken(wire.HeadTooLarge("The request's head or trailer is too large."))

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

    # --- the parser's callbacks -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._in_head = True
        self._resting = False
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
        exchange = Exchange(self, Head(parser.get_method(), version, self._url, lines, fields))
        self._receiving = exchange
        self.deadline_s = server.now_s + server.body_timeout_s
        fault = wire.head_fault(version, fields, lines)
        if self._long_read or self._fed_bytes or len(lines) > server.settings.header_count:
            settings = server.settings
            fault = wire.size_fault(self._url, lines, settings.header_bytes, settings.header_count) or fault
        if fault is None:
            exchange.keep_alive = not self._closing and parser.should_keep_alive()
            direct(exchange, server)
        else:
            exchange.keep_alive = False
            exchange.refuse(fault)
            self._deaf = True
        if b"upgrade" in fields and parser.should_upgrade():
            # The parser takes what follows for another protocol: the request's body is still to come.
            self._declined, self._receiving = exchange, None
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

    def _wait_in_line(self, exchange: Exchange) -> None:
        self._queue.append(exchange)
        if len(self._queue) >= PIPELINED:
            self._pause_reading()

    def _pause_reading(self) -> None:
        # A hang-up goes unseen meanwhile; only a client that floods its pipeline gets here.
        if not self._paused_reading:
            self._paused_reading = True
            self.deadline_s = NEVER
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        self._paused_reading = False
        if self._receiving is not None:
            self.deadline_s = self.server.now_s + self.server.body_timeout_s
        elif self._in_head:
            self.deadline_s = self.server.now_s + self.server.header_timeout_s
        self.transport.resume_reading()
        if self._held:
            held, self._held = self._held, b""
            self._bite(held)

    def _start(self, exchange: Exchange) -> None:
        self._current = exchange
        arrival = self._arrival
        if arrival is not None:
            self._arrival = None
            arrival.set_result(None)
        elif self._worker is None:
            self._worker = self.loop.create_task(self._work())

    async def _work(self) -> None:
        while True:
            exchange = self._current
            if exchange is None:
                self._arrival = self.loop.create_future()
                await self._arrival
                continue
            try:
                route = exchange.head.route
                if route is None or exchange.refusal is not None:
                    self.server.answer_directly(exchange)
                else:
                    await route.handler(exchange)
            except ApiError as error:
                self.server.answer_error(exchange, error)
            except asyncio.CancelledError:
                if not exchange.gone:  # we are the ones who stop
                    self.server.answer_error(exchange, Overloaded("The server is shutting down."))
            except Exception:
                log.exception("request %s failed", exchange.request_id)
                self.server.answer_error(exchange, InternalError("The server had an error. It is logged."))
            observer = self.server.observer
            if observer is not None:
                observer.ended(exchange)
            if self.writing_paused and not exchange.gone:
                await self.writable()  # else the replies to a pipeline that nobody reads would pile up
            if not self._finished(exchange):
                return

    def _finished(self, exchange: Exchange) -> bool:
        """Makes the connection ready for the next request, or ends it; tells which."""
        self._current = None
        if exchange.gone or not exchange.ended:  # an unended reply cannot be followed by another
            self._close()
            return False
        if self._closing or not exchange.keep_alive:
            if exchange.complete and not self._deaf:
                self._close()
            else:
                self._linger()
            return False
        if self._queue:
            self._current = self._queue.popleft()
            if self._paused_reading and not self._queue:
                self._resume_reading()
        elif self._receiving is None and not self._in_head:
            self._resting = True
            self.deadline_s = self.server.now_s + self.server.idle_timeout_s
        return True

    # --- endings ----------------------------------------------------------------------------------

    def _hang_up(self) -> None:
        self._queue.clear()
        self._held = b""
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
            if receiving.refusal is None:
                receiving.refuse(error)
            if self._current is None:
                self._linger()  # it was answered before its body had come
        elif self._current is not None:
            self._queue.append(stray(self, error))
        else:
            self._start(stray(self, error))

    def _decline_upgrade(self, rest: bytes) -> None:
        """Answers in HTTP/1.1 (Java's client offers h2c on every plain connection) and reads on."""
        if self._deaf or self._declined is None:  # a CONNECT
            self._deaf = True
            return
        self._receiving, self._declined = self._declined, None
        self._parser = httptools.HttpRequestParser(self)
        # A new parser does not know where the body ends until it has seen a head.
        self._deaf = True
        self._parser.feed_data(wire.framing(self._receiving.fields))
        self._deaf = False
        if self._receiving is not None:
            self.deadline_s = self.server.now_s + self.server.body_timeout_s
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
            self._close()

    def stop(self) -> None:
        """Ends the connection after the reply that is under way, at once if there is none."""
        self._closing = True
        if self._current is not None:
            self._current.keep_alive = False
        elif self._receiving is not None:
            self._linger()  # it was answered before its body had come
        else:
            self._close()

    def abort(self) -> None:
        """Ends the current request: its stream gets a last event that says why."""
        if self._current is not None and self._worker is not None and not self._current.ended:
            self._worker.cancel()
        else:
            self._close()
