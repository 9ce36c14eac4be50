"""The way out for what is fetched on a client's word: one GET to an address that was already checked.

Must not know which addresses are good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headgate.backends.connect import connect, tls_context
from headgate.backends.connection import Connection
from headgate.backends.names import look_up
from headgate.backends.proxy import Proxy
from headgate.core.address import Address
from headgate.core.errors import ConnectFailed, UpstreamGarbage
from headgate.core.outside import Place
from headgate.core.ports import Answer

CONNECT_TIMEOUT_MS = 5000
"""A content network's handshake takes a tenth of a second; the whole fetch has a limit of its own."""

HEAD = (
    "GET {target} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: headgate\r\naccept: */*\r\n"
    "connection: close\r\n\r\n"
)


class PublicSide:
    """Implements `headgate.core.ports.Outside`."""

    def __init__(self, proxy: Proxy | None = None, ca_file: str = "") -> None:
        self._proxy = proxy
        self._ca_file = ca_file

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        """All IP addresses of a name; raises ConnectFailed."""
        try:
            found = await look_up(host, port)
        except OSError:
            raise ConnectFailed("name not found") from None
        return [str(address[0]) for _, address in found]

    async def get(self, place: Place, address: str, limit_bytes: int) -> Answer:
        """One GET; raises UpstreamError (UpstreamTooLong ...)."""
        connection = await connect(
            Address(place.host, place.port, place.scheme == "https"),
            lambda: Connection(_Nobody(), asyncio.get_running_loop(), 0),
            proxy=self._proxy,
            tls=tls_context(self._ca_file) if place.scheme == "https" else None,
            timeout_ms=CONNECT_TIMEOUT_MS,
            pinned=address,
        )
        try:
            head = HEAD.format(target=place.target, authority=place.authority)
            reply = await connection.ask(head.encode("ascii"), b"")
            if reply.status != 200:
                location = reply.header(b"location") or b""
                return Answer(reply.status, location.decode("latin-1"), b"")
            encoding = reply.header(b"content-encoding") or b"identity"
            if encoding.lower() != b"identity":
                raise UpstreamGarbage("body: packed, though nobody asked")
            return Answer(200, "", await reply.read(limit_bytes))
        finally:
            connection.abort()


class _Nobody:
    """Stands where a pool would: a connection is used once."""

    def keep(self, connection: Connection) -> None:
        connection.abort()

    def forget(self, connection: Connection) -> None:
        pass
