"""One connection to an upstream: sends a request, and frames the reply that comes back.

Owns framing, its limits, and what may arrive when. Must not know how connections are made, nor what
the bytes mean. This is the hottest file of the gate: a call that can be left out is left out.
"""

from __future__ import annotations

import asyncio
import re
from typing import Protocol, cast

import httptools

from headgate.backends.reply import Reply, ends_exactly, ends_with_connection
from headgate.backends.sending import STEP_BYTES, Sending
from headgate.core.cut import Pieces
from headgate.core.errors import ConnectionLost, UpstreamGarbage, UpstreamTimeout

HEAD_LIMIT_BYTES = 64 * 1024
"""A reply's head, interim ones included: real ones stay under 8 KiB, and it is held in memory whole."""

HEADER_LIMIT = 256
"""Header lines of one reply: the busiest content networks send about 40."""

SHORT_HEAD_BYTES = 4 * HEADER_LIMIT
"""A head up to this size cannot have more lines than that."""

JOIN_LIMIT_BYTES = 32 * 1024
"""Up to this size copying head and body together is cheaper than giving the kernel two pieces."""

KEEP_ALIVE_MARGIN_MS = 1000
"""An upstream that says how long it keeps a connection is left this much earlier than it says."""

FIRST_BYTE = ord("H")

# Twice as quick as bytes.find, which stumbles over the end of each line.
END_OF_HEAD = re.compile(rb"\r\n\r\n").search

KEEP_ALIVE_SECONDS = re.compile(rb"timeout\s*=\s*([0-9]{1,6})", re.IGNORECASE)

# What a connection is doing. Plain integers: looking up an enum's member costs more than the comparison.
IDLE = 0  # no request is in flight, so nothing may arrive
HEAD = 1  # a request was sent, the reply's head is not complete
BODY = 2
DONE = 3  # the reply is complete but still in use: nothing more may arrive
CLOSED = 4


class Home(Protocol):
    """What a connection needs of the pool it belongs to."""

    def keep(self, connection: Connection) -> None:
        """It is free for another request."""

    def forget(self, connection: Connection) -> None:
        """It has ended; told once."""


class Connection(asyncio.Protocol):
    """One socket, asked one thing at a time."""

    __slots__ = (
        "_exact", "_feed", "_head", "_head_only", "_head_ticks", "_home", "_interims", "_keep_alive",
        "_parser", "_phase", "_pieces", "_plain", "_reply", "_sending", "_stopped", "_unsent_bytes",
        "_waiter", "keep_alive_ms", "loop", "on_body", "quiet_ticks", "reused", "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop, keep_alive_ms: int) -> None:
        self.loop = loop
        self.keep_alive_ms = keep_alive_ms
        """How long it may lie idle."""
        self.quiet_ticks = 0
        """Ticks of the pool's clock since anything happened here."""
        self.reused = False
        """It has carried an earlier request."""
        self._home = home
        self._phase = IDLE
        self._head = b""
        """What has come of a head that is not complete."""
        self._head_ticks = 0
        """Ticks since its first byte."""
        self._head_only = False
        self._plain = False
        """A reply whose only read so far is the one that is looked at, if any."""
        self._interims = 0
        self._keep_alive = False
        self._exact = False
        """The last read ended where the reply did."""
        self._stopped = False
        self._unsent_bytes = 0
        self._sending: Sending | None = None
        """The last long request."""
        self._reply: Reply | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        """Who waits for the head."""
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        """Called by the parser, straight into the list: no Python frame for each piece."""
        self._new_parser()

    @property
    def closed(self) -> bool:
        """It has ended."""
        return self._phase == CLOSED

    # --- asked by the pool and the reply --------------------------------------------------------------

    def ask(self, head: bytes, body: bytes | Pieces) -> asyncio.Future[Reply]:
        """Sends a request; the future is resolved when the reply's head is complete."""
        self._phase = HEAD
        self.quiet_ticks = 0
        self._head_only = head.startswith(b"HEAD ")
        self._plain = not self._head_only
        if isinstance(body, bytes) and len(body) <= JOIN_LIMIT_BYTES:
            self.transport.write(head + body)
        elif isinstance(body, bytes) and len(body) <= STEP_BYTES:
            self.transport.writelines((head, body))
        else:
            self._sending = Sending(self.loop, self.transport, head, body)
        self._waiter = waiter = self.loop.create_future()
        return waiter

    def release(self) -> None:
        """The reply is not needed any longer: back to the pool, or closed."""
        if not (
            self._phase == DONE
            and self._keep_alive
            and self._exact
            # A reply that came before its request was sent whole: the rest would precede the next request.
            and self.transport.get_write_buffer_size() == 0
            and (self._sending is None or self._sending.left_bytes == 0)
        ):
            self.abort()
            return
        if not self.reused:
            self.reused = True
            self._learn_keep_alive()
        self._phase = IDLE
        self._reply = None
        self.quiet_ticks = 0
        if self._stopped:
            self.resume()
        self._home.keep(self)

    def abort(self) -> None:
        """Ends the connection at once, whatever it is doing."""
        self._end(ConnectionLost("closed by its reader", reused=self.reused, answered=True))

    def pause(self) -> None:
        """Stops reading; quiet time does not count then."""
        if not self._stopped and self._phase != CLOSED:
            self._stopped = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        if self._stopped and self._phase != CLOSED:
            self._stopped = False
            self.quiet_ticks = 0
            self.transport.resume_reading()

    def tick(self, tick_ms: int, first_byte_ms: int, between_ms: int) -> None:
        """The pool's clock has moved on: ends what has been quiet for too long."""
        phase = self._phase
        if phase == DONE or self._stopped:
            return
        # The tick in which it fell quiet counts for nothing: a limit is never cut short ...
        quiet_ms = self.quiet_ticks * tick_ms
        self.quiet_ticks += 1
        if phase == IDLE:
            # ... but here, where being late means to meet the upstream's own.
            if quiet_ms + tick_ms >= self.keep_alive_ms:
                self.abort()
        elif phase == HEAD and not self._head:
            unsent_bytes = self.transport.get_write_buffer_size()
            if self._sending is not None:
                unsent_bytes += self._sending.left_bytes
            if unsent_bytes != self._unsent_bytes:
                self._unsent_bytes = unsent_bytes  # a long request on its way out is no silence
                self.quiet_ticks = 0
            elif quiet_ms >= first_byte_ms:
                self._end(UpstreamTimeout("first byte"))
        elif quiet_ms >= between_ms:
            self._end(UpstreamTimeout("idle"))
        elif phase == HEAD:
            # A byte now and then is no silence, but a head that has begun must come to its end.
            self._head_ticks += 1
            if self._head_ticks * tick_ms >= first_byte_ms:
                self._end(UpstreamTimeout("first byte"))

    # --- what the socket brings -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        if self._sending is not None:
            self._sending.hold()

    def resume_writing(self) -> None:
        if self._sending is not None:
            self._sending.go_on()

    def data_received(self, data: bytes) -> None:
        before = self._phase
        if not HEAD <= before <= BODY:
            # Nothing was asked: it must never become the answer to the next question.
            self.abort()
            return
        self.quiet_ticks = 0
        broken = False
        try:
            self._feed(data)
        except httptools.HttpParserError:
            broken = True
        if before == HEAD:
            if self._phase == DONE and not broken and self._take_whole(data):
                return
            if not self._take_head(data, broken):
                return
        self._pass_on(data, before, broken)

    def _pass_on(self, data: bytes, before: int, broken: bool) -> None:
        """Gives what has come of the body to its reader, and the reply to whoever waits for its head."""
        reply, pieces = self._reply, self._pieces
        assert reply is not None
        done = self._phase == DONE
        if done:
            reply.complete = True
            self._exact = not broken and ends_exactly(data, pieces)
        if pieces:
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            if reply.on_bytes is None:
                reply.hold(body)
            else:
                # From within, the reader may close its reply: then the connection can be another's already.
                try:
                    reply.on_bytes(body)
                except Exception as error:  # noqa: BLE001 -- the reader's own: its pump raises it
                    reply.refuse(error)
                    return
        if before == HEAD:
            waiter = self._waiter
            self._waiter = None
            # It can have been cancelled in this same turn of the loop.
            if waiter is not None and not waiter.done():
                waiter.set_result(reply)
        elif done:
            reply.finish()
        if broken and not done:
            self._end(UpstreamGarbage("body: not HTTP"))

    def eof_received(self) -> None:
        reply = self._reply
        if self._phase == BODY and reply is not None and ends_with_connection(reply.head):
            reply.complete = True
            self._end(None)
            reply.finish()
        else:
            self._lost()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost()

    # --- what the parser finds ------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        if self._phase != HEAD:
            raise UpstreamGarbage("more than one reply")
        if self._pieces:
            raise UpstreamGarbage("an interim reply with a body")
        status = self._parser.get_status_code()
        if status >= 200:
            self._phase = BODY
        elif status == 101:
            raise UpstreamGarbage("an upgrade that nobody asked for")
        else:
            self._interims += 1
            self._plain = False

    def on_message_complete(self) -> None:
        if self._phase == BODY:
            self._phase = DONE
            self._keep_alive = self._parser.should_keep_alive()

    # --- inside ---------------------------------------------------------------------------------------

    def _new_parser(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data

    def _take_whole(self, data: bytes) -> bool:
        """Passes on the reply, where the read was just that, its length in its head; says whether it was.

        Most replies come so. The others, and what is odd, are left to `_take_head` and what follows it.
        """
        found = END_OF_HEAD(data)
        pieces = self._pieces
        if found is None or len(pieces) != 1 or not self._plain or data[0] != FIRST_BYTE:
            return False
        end = found.start()
        if end + 4 + len(pieces[0]) != len(data) or end > SHORT_HEAD_BYTES:
            return False
        self._exact = True
        self._reply = reply = Reply(self, self._parser.get_status_code(), data[:end], pieces.pop())
        waiter = self._waiter
        self._waiter = None
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)
        return True

    def _take_head(self, data: bytes, broken: bool) -> bool:
        """Makes the reply when its head is complete; says whether it is, and good."""
        head = self._head + data if self._head else data
        if self._phase == HEAD:
            if not self._head:
                self._head_ticks = 0
            self._head = head
            self._plain = False
            if broken or self._pieces:
                self._end(UpstreamGarbage("head: not HTTP"))
            elif len(head) > HEAD_LIMIT_BYTES:
                self._end(UpstreamGarbage("head: too long"))
            return False
        self._head = b""
        start = 0
        found = END_OF_HEAD(head)
        while self._interims and found is not None:
            self._interims -= 1
            start = found.end()
            found = END_OF_HEAD(head, start)
        # The parser lets empty lines pass before a reply: where its head ends could then be read in two ways.
        if found is None or head[start] != FIRST_BYTE:
            self._end(UpstreamGarbage("head: not HTTP"))
            return False
        end = found.start()
        own = head[start:end]
        if end > HEAD_LIMIT_BYTES or (end > SHORT_HEAD_BYTES and own.count(b"\r\n") > HEADER_LIMIT):
            self._end(UpstreamGarbage("head: too long"))
            return False
        self._reply = Reply(self, self._parser.get_status_code(), own)
        if self._head_only:
            self._end_at_head()
        return True

    def _end_at_head(self) -> None:
        # The parser cannot be told that no body follows whatever the head says, and would wait for one.
        if self._phase == BODY:
            self._phase = DONE
            self._keep_alive = self._parser.should_keep_alive()
        self._pieces.clear()
        self._new_parser()

    def _learn_keep_alive(self) -> None:
        """Obeys `keep-alive: timeout=5`, as small servers send it."""
        assert self._reply is not None
        said = self._reply.header(b"keep-alive")
        found = KEEP_ALIVE_SECONDS.search(said) if said else None
        if found:
            limit_ms = int(found[1]) * 1000 - KEEP_ALIVE_MARGIN_MS
            self.keep_alive_ms = max(0, min(self.keep_alive_ms, limit_ms))

    def _lost(self) -> None:
        phase = self._phase
        if phase == HEAD:
            where = "head: cut short" if self._head else "no answer: connection closed"
        else:
            where = "body: cut short"
        answered = phase != HEAD or bool(self._head)
        self._end(ConnectionLost(where, reused=self.reused, answered=answered))

    def _end(self, error: Exception | None) -> None:
        """Closes the connection at once and tells whoever waits."""
        if self._phase == CLOSED:
            return
        self._phase = CLOSED
        self.transport.abort()
        self._home.forget(self)
        reply, waiter = self._reply, self._waiter
        self._reply = self._waiter = None
        if self._sending is not None:
            self._sending.stop()
        # The parser holds methods of this object, and this object holds the parser.
        del self._parser, self._feed, self.on_body
        if error is None:
            return
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        if reply is not None and not reply.complete:
            reply.fail(error)
