"""A bridge from the edge to any ASGI application (ASGI 3.0, HTTP 2.4), for what is not hot.

The request body is read whole, within its route's limit, before the application runs.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from headgate.edge.exchange import Exchange
from headgate.edge.route import Handler
from headgate.edge.wire import BODILESS

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def bridge(application: Application) -> Handler:
    """A handler that lets `application` answer."""

    async def handle(exchange: Exchange) -> None:
        call = _Call(exchange, await exchange.body())
        try:
            await application(scope(exchange), call.receive, call.send)
        finally:
            call.end()
        if not exchange.ended:
            raise RuntimeError("the application ended before its reply did")

    return handle


def scope(exchange: Exchange) -> Message:
    """The ASGI connection scope of one request."""
    transport = exchange.connection.transport
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": exchange.version,
        "method": exchange.method.decode("latin-1"),
        "scheme": "http" if transport.get_extra_info("ssl_object") is None else "https",
        "path": unquote(exchange.path.decode("latin-1")),
        "raw_path": exchange.path,
        "query_string": exchange.query,
        "root_path": "",
        "headers": [(name, value.rstrip(b" \t")) for name, value in exchange.lines],
        "client": _address(transport.get_extra_info("peername")),
        "server": _address(transport.get_extra_info("sockname")),
    }


def _address(name: object) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None


class _Call:
    """The two channels of one request.

    An application that breaks the rules gets an exception: its reply becomes a 500, or is cut off if it had
    begun, so that no client takes the next reply for a part of this one.
    """

    def __init__(self, exchange: Exchange, body: bytes) -> None:
        self._exchange = exchange
        self._body: bytes | None = body
        self._start: Message | None = None
        self._rest_bytes: int | None = None
        """What is missing of the length that was announced."""
        self._over = asyncio.get_running_loop().create_future()

    async def receive(self) -> Message:
        """The body once, then the end. (A client that goes cancels the application.)"""
        if self._body is None:
            await self._over
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Takes the start of the reply, then its pieces; waits while the client does not read."""
        if message["type"] == "http.response.start" and self._start is None:
            self._start = message
        elif message["type"] == "http.response.body" and self._start is not None and not self._exchange.ended:
            await self._pass_on(self._start, bytes(message.get("body", b"")), message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']} is out of turn")

    def end(self) -> None:
        """The application is done, well or not."""
        if not self._over.done():
            self._over.set_result(None)

    async def _pass_on(self, start: Message, body: bytes, more: bool) -> None:
        exchange, status = self._exchange, start["status"]
        if not exchange.begun:
            if status in BODILESS:
                if not more:
                    exchange.reply(status, _lines(start), b"")
                return
            if not more and exchange.method != b"HEAD":
                _same_length(_length(start), len(body))
                exchange.reply(status, _lines(start), body)
                return
            length = _length(start)
            exchange.begin(status, _lines(start), length)
            self._rest_bytes = length if exchange.method != b"HEAD" else None
        if self._rest_bytes is not None:
            self._rest_bytes -= len(body)
            if self._rest_bytes < 0 or not more:
                _same_length(self._rest_bytes, 0)
        if more:
            exchange.write(body)
            await exchange.drain()
        else:
            exchange.finish(body)


def _same_length(announced: int | None, real: int) -> None:
    if announced not in (None, real):
        raise RuntimeError("the body is not as long as its content-length says")


def _lines(start: Message) -> bytes:
    """Header lines as bytes. The edge frames the body itself; what would end a line early is refused."""
    lines = []
    for name, value in start.get("headers", ()):
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError("a reply header holds what no header may hold")
        if name.lower() not in (b"content-length", b"transfer-encoding", b"connection", b"date"):
            lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)


_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def _length(start: Message) -> int | None:
    for name, value in start.get("headers", ()):
        if name.lower() == b"content-length":
            return int(value)
    return None
