"""The edge beside h11, an HTTP/1.1 parser that shares nothing with it, on requests that are nearly right.

What both accept must be the same request; what only the edge accepts stands in a table here, with its reason.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import h11
import pytest
from h11._state import MIGHT_SWITCH_PROTOCOL

from headgate.core.settings import Server as Settings
from headgate.edge.connection import Connection
from headgate.edge.exchange import Exchange
from headgate.edge.route import Route, Routes
from headgate.edge.server import Server
from tests.conftest import run
from tests.edge.mutants import pipeline

CASES = 1000
"""For each seed: about a second."""


@dataclass
class Request:
    """What a parser made of some bytes."""

    method: bytes
    target: bytes
    lines: list[tuple[bytes, bytes]]
    body: bytes


@dataclass
class Reading:
    """All the requests that a parser found, and whether it then met something that it refused."""

    requests: list[Request | None] = field(default_factory=list)
    """None stands for one that was complete, but not looked at further."""
    refused: str = ""

    @property
    def whole(self) -> list[Request | None]:
        """Without what was unwanted at the end: its body may have been dropped before it was complete."""
        count = max(
            (number for number, request in enumerate(self.requests, 1) if request is not None), default=0
        )
        return self.requests[:count]


# --- h11 ----------------------------------------------------------------------------------------------------


def read_with_h11(data: bytes) -> Reading:
    reading = Reading()
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    parser.receive_data(data)
    request: Request | None = None
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError as error:
            reading.refused = str(error)
            return reading
        if isinstance(event, h11.Request):
            request = Request(event.method, event.target, list(event.headers), b"")
        elif isinstance(event, h11.Data):
            assert request is not None
            request.body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            reading.requests.append(request)
            if not answered(parser):
                return reading
        else:
            return reading


def answered(parser: h11.Connection) -> bool:
    """Answers, and tells whether another request may follow."""
    if parser.our_state is MIGHT_SWITCH_PROTOCOL:
        parser.send(h11.Response(status_code=200, headers=[]))
    elif parser.our_state is h11.SEND_RESPONSE:
        parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
    parser.send(h11.EndOfMessage())
    if parser.our_state is not h11.DONE or parser.their_state not in (h11.DONE, MIGHT_SWITCH_PROTOCOL):
        return False
    parser.start_next_cycle()
    return True


# --- the edge -----------------------------------------------------------------------------------------------


class Transport(asyncio.Transport):
    """Keeps what is written: there is no client here."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: Any) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class AnyPath(Routes):
    """Everything goes to one handler: here requests are read, not routed."""

    def __init__(self, route: Route) -> None:
        super().__init__([])
        self._route = route

    def find(self, method: bytes, target: bytes) -> Route:
        return self._route


async def read_with_edge(data: bytes, reading: Reading, server: Server) -> None:
    """Completes `reading`, to which the server's handler appends."""
    transport = Transport()
    connection = Connection(server)
    connection.connection_made(transport)
    connection.data_received(data)
    for _ in range(12):  # a few requests at most, and nobody else is in this loop
        await asyncio.sleep(0)
    for number, status in enumerate(re.findall(rb"HTTP/1\.1 ([2-5]\d\d)", transport.written)):
        if status in (b"415", b"417"):  # read to its end, but not wanted
            reading.requests.insert(number, None)
        elif status != b"200":
            reading.refused = status.decode()
    connection.connection_lost(None)
    await asyncio.sleep(0)


async def collect(cases: list[bytes]) -> list[Reading]:
    current = Reading()

    async def handle(exchange: Exchange) -> None:
        # As h11 shows them: without the blanks at the end, the one coding there is in lower case.
        lines = [(name, value.strip(b" \t")) for name, value in exchange.lines]
        lines = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in lines]
        method, target = exchange.method, exchange.target
        body = await exchange.body()
        current.requests.append(Request(method, target, lines, body))
        exchange.reply(200, b"", b"")

    server = Server(AnyPath(Route("GET", "/*", handle, 2**20)), Settings())
    readings = []
    for data in cases:
        current = Reading()
        readings.append(current)
        await read_with_edge(data, current, server)
    await server.stop(0)
    return readings


# --- together -----------------------------------------------------------------------------------------------


def illegal_line(other: Reading) -> str:
    """The request line that h11 did not take, as Python would write it; empty if it was none."""
    return (
        other.refused.removeprefix("illegal request line: ")
        if "illegal request line" in other.refused
        else ""
    )


KNOWN: dict[str, Callable[[bytes, Reading], bool]] = {
    # RFC 9112, section 2.2: a server should ignore an empty line before a request; old clients send one after
    # a body. The parser also takes a bare CR or LF for one. No request hides there: what follows begins anew.
    "empty lines before a request": lambda data, other: (
        other.refused == "no request line received" or illegal_line(other).startswith("bytearray(b'\\r")
    ),
    # RFC 9112, section 3, lets a server take several spaces for one. The target itself never holds any.
    "several spaces in the request line": lambda data, other: "  " in illegal_line(other),
    # h11 does not keep HTTP/1.0 connections at all; RFC 9112, appendix C.2.2, tells how to.
    "HTTP/1.0 with keep-alive": lambda data, other: (
        not other.refused and b"HTTP/1.0" in data and b"connection: keep-alive" in data.lower()
    ),
    # The parser knows two more protocols of HTTP's shape. Under their names a request is read like any other,
    # and no client or proxy that speaks HTTP sends them.
    "RTSP": lambda data, other: "RTSP/1." in illegal_line(other),
}
"""What the edge accepts and h11 does not: how to recognise it, and why it may be."""


@pytest.mark.parametrize("seed", range(8))
def test_both_read_the_same(seed: int) -> None:
    chance = Random(seed)
    cases = [pipeline(chance) for _ in range(CASES)]
    compared = 0
    for data, edge in zip(cases, run(collect(cases)), strict=True):
        other = read_with_h11(data)
        for mine, theirs in zip(edge.requests, other.requests, strict=False):
            assert mine is None or mine == theirs, data
            compared += 1
        if len(edge.whole) > len(other.requests):
            assert [reason for reason, known in KNOWN.items() if known(data, other)], (
                data,
                edge,
                other,
            )
    assert compared > CASES // 3


EXAMPLES = [
    ("empty lines before a request", b"\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("several spaces in the request line", b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("empty lines before a request", b"\rGET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("several spaces in the request line", b"GET /   HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("HTTP/1.0 with keep-alive", b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n" * 2),
    ("RTSP", b"GET / RTSP/1.0\r\n\r\n"),
]


@pytest.mark.parametrize(("reason", "data"), EXAMPLES)
def test_the_known_differences_are_real(reason: str, data: bytes) -> None:
    """A row that is not needed any more has to go."""
    (edge,) = run(collect([data]))
    other = read_with_h11(data)
    assert len(edge.requests) > len(other.requests)
    assert [name for name, known in KNOWN.items() if known(data, other)] == [reason]


def test_every_known_difference_is_shown() -> None:
    assert {reason for reason, _ in EXAMPLES} == set(KNOWN)
