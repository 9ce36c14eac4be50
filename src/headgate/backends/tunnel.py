"""Asks an HTTP proxy for a tunnel (CONNECT). Must not know what goes through it."""

from __future__ import annotations

import asyncio
import re
from typing import cast

from headgate.core.errors import ConnectFailed

ANSWER_LIMIT_BYTES = 16 * 1024
"""A proxy's answer: a status line and a few headers."""

STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")


class Tunnel(asyncio.Protocol):
    """The conversation with a proxy, up to the moment when the tunnel is open."""

    def __init__(self) -> None:
        self._answer = b""
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def open(self, host_and_port: str, authorization: str) -> None:
        """Returns when the tunnel is open, with reading paused; raises ConnectFailed when it will not be."""
        assert self._transport is not None
        lines = [f"CONNECT {host_and_port} HTTP/1.1", f"host: {host_and_port}"]
        if authorization:
            lines.append(f"proxy-authorization: {authorization}")
        self._transport.write("\r\n".join([*lines, "", ""]).encode("ascii"))
        await self._opened

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if not end:
            if len(head) > ANSWER_LIMIT_BYTES:
                self._refuse("proxy: answer too long")
            return
        status = STATUS.match(head + end)
        if status is None:
            self._refuse("proxy: no HTTP")
        elif not status[1].startswith(b"2"):
            self._refuse(f"proxy: refused the tunnel ({int(status[1])})")
        elif rest:
            # Nobody has spoken through the tunnel yet: these bytes are the proxy's own.
            self._refuse("proxy: spoke out of turn")
        elif not self._opened.done() and self._transport is not None:
            # What comes next is for somebody else, who does not listen yet.
            self._transport.pause_reading()
            self._opened.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._refuse("proxy: closed the connection")

    def _refuse(self, why: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(ConnectFailed(why))
