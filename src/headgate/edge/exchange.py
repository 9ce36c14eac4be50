"""One HTTP request and the reply to it: collects the body, frames what is sent.

Must not know what is served; a connection makes it and a handler uses it.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from os import urandom
from typing import Protocol

from headgate.core.access import Networks, client_address
from headgate.core.errors import ApiError
from headgate.core.observer import Passage
from headgate.core.ports import Throttle
from headgate.edge.cors import Cors
from headgate.edge.head import Head
from headgate.edge.inflate import Inflater
from headgate.edge.limits import DISCARD_BYTES, INFLATE_READ_BYTES, JOIN_BYTES
from headgate.edge.route import Route
from headgate.edge.wire import BODILESS, LAST_CHUNK, chunk, split_target, status_line, too_large

# Unique across restarts by its random half, cheap by its counted half; it is a name, not a secret.
_ID_PREFIX = f"req_{urandom(8).hex()}"
_id_counter = count(1)

WHOLE = sys.maxsize
"""More bytes than any body has."""


class House(Protocol):
    """What every reply says of the server."""

    date_header: bytes
    cors: Cors
    trusted: Networks
    """Proxies whose word on their clients is taken."""


class Channel(Protocol):
    """What an exchange needs of its connection."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    writing_paused: bool

    @property
    def server(self) -> House: ...

    def send(self, data: bytes) -> None:
        """Queues bytes for the client."""

    async def writable(self) -> None:
        """Waits until the client has taken most of what was sent."""


class Exchange:
    """A request whose head is complete; implements `headgate.core.ports.Exchange`."""

    # Most requests never change these: class attributes cost nothing until then.
    refusal: ApiError | None = None
    """Why the request is answered without being handled, or why its body cannot be read."""
    keep_alive = True
    gone = False
    """The client has hung up."""
    complete = False
    """The whole request has arrived."""
    received_bytes = 0
    remaining_bytes: int | None = 0
    """What is announced and has not come; None when it is not known (chunked)."""
    begun = False
    """The reply's status line has been sent."""
    is_event_stream = False
    """The reply that has begun can carry an error as its last event."""
    ended = False
    """The reply is complete."""
    status = 0
    """What the client was answered; 0 until then."""
    failure: ApiError | None = None
    """What it was told, or what ended its stream."""
    passage: Passage | None = None
    """What is seen of it from outside, where it is a request to a model."""
    _framed = False
    _enough_bytes = WHOLE
    """Received bytes above which whoever waits for the body is woken before its end."""
    _inflater: Inflater | None = None
    _waiter: asyncio.Future[None] | None = None
    _source: Throttle | None = None

    def __init__(self, connection: Channel, head: Head, body: bytes | None = None) -> None:
        """`body` where it came with the head: then the request is complete."""
        self.connection = connection
        self.head = head
        self.request_id = f"{_ID_PREFIX}{next(_id_counter):016x}"
        self.started_s = connection.loop.time()
        self._chunks: list[bytes] = []
        if body is not None:
            self._chunks.append(body)
            self.complete = True

    # --- the request ------------------------------------------------------------------------------

    @property
    def method(self) -> bytes:
        """In capital letters."""
        return self.head.method

    @property
    def target(self) -> bytes:
        """As it was sent."""
        return self.head.target

    @property
    def client(self) -> str:
        """The address of whoever asks; empty where there is none."""
        name = self.connection.transport.get_extra_info("peername")
        peer = str(name[0]) if isinstance(name, tuple) else ""
        trusted = self.connection.server.trusted
        if not trusted:
            return peer
        return client_address(peer, (self.header(b"x-forwarded-for") or b"").decode("latin-1"), trusted)

    @property
    def version(self) -> str:
        """`1.0` or `1.1`."""
        return self.head.version

    @property
    def lines(self) -> list[tuple[bytes, bytes]]:
        """The header lines, names in lower case."""
        return self.head.lines

    @property
    def fields(self) -> dict[bytes, bytes]:
        """`dict(lines)`."""
        return self.head.fields

    @property
    def route(self) -> Route | None:
        """Where it leads."""
        return self.head.route

    @property
    def path(self) -> bytes:
        """The target's path, as it was sent."""
        return split_target(self.head.target)[0]

    @property
    def query(self) -> bytes:
        """The target's query, without the question mark."""
        return split_target(self.head.target)[1]

    def header(self, name: bytes) -> bytes | None:
        """A request header's value by its lower-case name; repeated lines are joined by `, `."""
        head = self.head
        return head.fields.get(name) if head.single else head.get(name)

    def bearer(self) -> bytes | None:
        """The token of the Authorization header; None where it holds none."""
        head = self.head
        if head.bearer is None:
            head.find_bearer()
        return head.bearer

    @property
    def parameter(self) -> str:
        """What stood for `{id}` in the path."""
        return self.head.parameter

    def body_at_hand(self) -> bytes | None:
        """The request body, if it has come whole already, as most do; or else `body` has to be awaited."""
        if len(self._chunks) == 1 and self.complete and b"content-encoding" not in self.head.fields:
            return self._chunks.pop()
        return None

    async def body(self, enough_bytes: int = WHOLE) -> bytes:
        """The request body, unpacked; raises ApiError when it is too large, slow or broken.

        Of one that is longer than `enough_bytes` the beginning, as soon as more than that is at hand; further
        calls return what follows, and nothing at the end.
        """
        if b"content-encoding" in self.head.fields and self._is_packed():
            return await self._unpack(enough_bytes)
        if not self.complete and self.refusal is None:
            await self._arrival(enough_bytes)
        if self.refusal is not None:
            raise self.refusal
        return self._take(enough_bytes)

    def receive(self, pieces: list[bytes]) -> None:
        """Takes pieces of the body out of a list; after a refusal they are only counted."""
        if self.remaining_bytes is None or not self.complete:
            self._count(sum(map(len, pieces)))
        if self.refusal is None and not self.ended:
            self._chunks += pieces
        pieces.clear()

    def _count(self, size: int) -> None:
        self.received_bytes += size
        if self.remaining_bytes is not None:
            self.remaining_bytes -= size  # a length that is known was checked with the head
        elif self.head.route is not None and self.received_bytes > self.head.route.body_limit_bytes:
            self.refuse(too_large(self.head.route.body_limit_bytes))
        if self.received_bytes > self._enough_bytes:
            self._wake()

    def received(self, pieces: list[bytes]) -> None:
        """Takes the last pieces: the whole request has arrived."""
        self.complete = True
        if pieces:
            self.receive(pieces)
        if self._waiter is not None:
            self._wake()

    def refuse(self, error: ApiError) -> None:
        """Makes `body` raise `error`, and forgets what has arrived."""
        self.refusal = error
        self._chunks = []
        self._wake()

    def _arrival(self, enough_bytes: int) -> asyncio.Future[None]:
        """Done when the rest of the body has arrived, or more than `enough_bytes` of it are at hand."""
        if self._waiter is None and b"expect" in self.head.fields and self.head.version == "1.1":
            self.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._waiter = waiter = self.connection.loop.create_future()
        self._enough_bytes = self.received_bytes - sum(map(len, self._chunks)) + enough_bytes
        if self.received_bytes > self._enough_bytes:
            self._wake()
        return waiter

    def _take(self, enough_bytes: int) -> bytes:
        """What is at hand, up to the chunk with which it is more than enough."""
        chunks, self._chunks = self._chunks, []
        if len(chunks) == 1:
            return chunks[0]
        size = 0
        for index, piece in enumerate(chunks, 1):
            size += len(piece)
            if size > enough_bytes:
                self._chunks = chunks[index:]
                return b"".join(chunks[:index])
        return b"".join(chunks)

    def _is_packed(self) -> bool:
        return (
            self.head.route is not None
            and self.head.fields[b"content-encoding"].strip().lower() != b"identity"
        )

    async def _unpack(self, enough_bytes: int) -> bytes:
        """The next part of a gzip body, unpacked while it arrives, a little per turn of the loop."""
        assert self.head.route is not None
        if self._inflater is None:
            self._inflater = Inflater(self.head.route.body_limit_bytes)
        pieces: list[bytes] = []
        size = 0
        while size <= enough_bytes:
            piece = self._inflater.step()
            if piece:
                pieces.append(piece)
                size += len(piece)
                await asyncio.sleep(0)
                continue
            if not self.complete and self.refusal is None:
                await self._arrival(INFLATE_READ_BYTES)
            if self.refusal is not None:
                raise self.refusal
            packed = self._take(INFLATE_READ_BYTES)
            if not packed:
                self._inflater.finish()
                break
            self._inflater.feed(packed)
        return b"".join(pieces)

    def _rest_is_small(self) -> bool:
        """Whether the unread rest of the body may be read and dropped to keep the connection.

        A client that still waits for its 100 may send the body or not: then nobody knows where the next
        request starts.
        """
        if b"expect" in self.head.fields and self.received_bytes == 0:
            return False
        return self.remaining_bytes is not None and self.remaining_bytes <= DISCARD_BYTES

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- the reply --------------------------------------------------------------------------------

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """Sends a whole reply; `headers` is complete lines, each ended by CR LF."""
        self.begun = self.ended = True
        self.status = status
        if status in BODILESS:
            framing, body = b"", b""
        else:
            framing = b"content-length: %d\r\n" % len(body)
            if self.head.method == b"HEAD":
                body = b""
        start = self._start(status, framing, headers)
        if len(body) < JOIN_BYTES:
            self.connection.send(start + body)
        else:
            self.connection.send(start)
            self.connection.send(body)

    def begin(self, status: int, headers: bytes, length: int | None = None) -> None:
        """Starts a reply whose body follows; `length` in bytes when known, else chunked."""
        self.begun = True
        self.status = status
        self.is_event_stream = b"text/event-stream" in headers
        if length is not None:
            framing = b"content-length: %d\r\n" % length
        elif self.head.version == "1.1":
            framing = b"transfer-encoding: chunked\r\n"
            self._framed = True
        else:
            framing = b""
            self.keep_alive = False
        self.connection.send(self._start(status, framing, headers))

    def write(self, data: bytes) -> None:
        """Sends a piece of the body."""
        if data and self.head.method != b"HEAD":
            # What `chunk` does, without the call: this is done for every block of every stream.
            self.connection.send(b"%x\r\n%b\r\n" % (len(data), data) if self._framed else data)

    def finish(self, data: bytes = b"") -> None:
        """Sends the last piece and ends the reply."""
        if self.ended:
            return
        self.ended = True
        if self.head.method == b"HEAD":
            return
        if self._framed:
            self.connection.send(chunk(data) + LAST_CHUNK if data else LAST_CHUNK)
        elif data:
            self.connection.send(data)

    def throttle(self, source: Throttle | None) -> None:
        """Names whom to pause while the client does not read; None when there is nobody any more."""
        self._source = source
        if source is not None and self.connection.writing_paused:
            source.pause()

    def pause(self) -> None:
        """The client does not keep up."""
        if self._source is not None:
            self._source.pause()

    def resume(self) -> None:
        """The client has caught up."""
        if self._source is not None:
            self._source.resume()

    async def drain(self) -> None:
        """Waits until the client has taken most of what was sent."""
        await self.connection.writable()

    def _start(self, status: int, framing: bytes, headers: bytes) -> bytes:
        """The reply's head."""
        usual = self.complete and self.keep_alive and self.head.usual
        return b"%b%b%bx-request-id: %b\r\n%b%b\r\n" % (
            status_line(status),
            framing,
            headers,
            self.request_id.encode(),
            self.connection.server.date_header,
            b"" if usual else self._unusual_lines(),
        )

    def _unusual_lines(self) -> bytes:
        lines = b""
        if not self.complete and self.keep_alive:
            self.keep_alive = self._rest_is_small()
        if not self.keep_alive:
            lines += b"connection: close\r\n"
        elif self.head.version == "1.0":
            lines += b"connection: keep-alive\r\n"
        if b"origin" in self.head.fields:
            lines += self.connection.server.cors.headers(self.head.fields[b"origin"])
        return lines


def stray(channel: Channel, error: ApiError) -> Exchange:
    """Stands for what was never a request: it is answered with `error`, and the connection ends."""
    exchange = Exchange(channel, Head(b"GET", "1.1", b"", [], {}))
    exchange.keep_alive = False
    exchange.refuse(error)
    return exchange
