"""A bridge from the edge to any ASGI application (ASGI 3.0, HTTP 2.4), for what is not hot.

The request body is read whole, within its route's limit, before the application runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from headgate.edge.exchange import Exchange
from headgate.edge.route import Handler

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def bridge(application: Application) -> Handler:
    """A handler that lets `application` answer."""

    async def handle(exchange: Exchange) -> None:
        body = await exchange.body()
        call = _Call(exchange, body)
        await application(scope(exchange), call.receive, call.send)
        if not exchange.ended:
            exchange.finish()

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
        "headers": exchange.lines,
        "client": _address(transport.get_extra_info("peername")),
        "server": _address(transport.get_extra_info("sockname")),
    }


def _address(name: object) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None


class _Call:
    """The two channels of one request."""

    def __init__(self, exchange: Exchange, body: bytes) -> None:
        self._exchange = exchange
        self._body: bytes | None = body
        self._start: Message | None = None

    async def receive(self) -> Message:
        """The body once, and then nothing until the client goes, which cancels the application."""
        if self._body is None:
            await asyncio.get_running_loop().create_future()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Takes the start of the reply, then its pieces; waits while the client does not read."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        body, more = bytes(message.get("body", b"")), message.get("more_body", False)
        start, self._start = self._start, None
        if start is not None and not more:
            self._exchange.reply(start["status"], _lines(start), body)
            return
        if start is not None:
            self._exchange.begin(start["status"], _lines(start), length=_length(start))
        if more:
            self._exchange.write(body)
            await self._exchange.drain()
        else:
            self._exchange.finish(body)


def _lines(start: Message) -> bytes:
    """Header lines as bytes. The edge frames the body itself; a name or value with a line end is refused."""
    lines = []
    for name, value in start.get("headers", ()):
        if b"\r" in name + value or b"\n" in name + value:
            raise ValueError("a reply header holds a line end")
        if name.lower() not in (b"content-length", b"transfer-encoding", b"connection", b"date"):
            lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)


def _length(start: Message) -> int | None:
    for name, value in start.get("headers", ()):
        if name.lower() == b"content-length":
            return int(value)
    return None
