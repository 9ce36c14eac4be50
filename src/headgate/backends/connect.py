"""Makes connections: TCP, TLS, Unix sockets, tunnels through a proxy. Foreign errors are mapped here, once.

Must not know what is sent on a connection, nor how many there are.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar, cast

from headgate.backends.connection import Connection
from headgate.backends.proxy import Proxy
from headgate.core.address import Address
from headgate.core.errors import ConnectFailed, SettingsError, UpstreamTimeout

Made = TypeVar("Made", bound=asyncio.Protocol)

TUNNEL_REPLY_LIMIT_BYTES = 16 * 1024
"""A proxy's answer to CONNECT: a status line and a few headers, at worst with an error page."""

TUNNEL_OPEN = re.compile(rb"HTTP/1\.[01] 2[0-9][0-9][ \r]")

PROBE_AFTER_S = 60
"""A silent connection is probed by the kernel, so that firewalls remember it while a model thinks."""


@functools.lru_cache(maxsize=64)
def tls_context(ca_file: str = "") -> ssl.SSLContext:
    """What verifies an upstream's certificate: the system's authorities, or those of one PEM file.

    Contexts are shared: each holds all of its authorities in memory. Raises SettingsError.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise SettingsError(
            f"ca_file: {ca_file}: {error.strerror or 'not a PEM file of certificates'}"
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


async def connect(
    address: Address,
    make: Callable[[], Connection],
    *,
    proxy: Proxy | None,
    tls: ssl.SSLContext | None,
    timeout_ms: int,
) -> Connection:
    """Opens a connection within a time limit that covers names, TCP, the tunnel and TLS together.

    Raises ConnectFailed and UpstreamTimeout; what was half open is closed, also when it is cancelled.
    """
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            if address.socket_path:
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_unix_connection(make, address.socket_path)
            elif proxy is not None:
                connection = await _through(proxy, address, make, tls)
            else:
                _, connection = await _tcp(address.host, address.port, make, tls)
    except TimeoutError as error:
        raise UpstreamTimeout("connect") from error
    except OSError as error:
        raise ConnectFailed(f"connect: {_reason(error)}") from error
    return connection


async def _tcp(
    host: str, port: int, make: Callable[[], Made], tls: ssl.SSLContext | None = None
) -> tuple[asyncio.Transport, Made]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(
        make, host, port, ssl=tls, server_hostname=host if tls else None
    )
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER_S)
    return transport, protocol


async def _through(
    proxy: Proxy, address: Address, make: Callable[[], Connection], tls: ssl.SSLContext | None
) -> Connection:
    """A tunnel through a proxy, and TLS inside it where the address asks for it."""
    loop = asyncio.get_running_loop()
    transport, tunnel = await _tcp(proxy.host, proxy.port, _Tunnel)
    try:
        await tunnel.open(address.host_and_port, proxy.authorization)
        connection = make()
        if tls is not None:
            secured = await loop.start_tls(transport, connection, tls, server_hostname=address.host)
            assert secured is not None
            connection.connection_made(secured)
        else:
            transport.set_protocol(connection)
            connection.connection_made(transport)
    except BaseException:
        transport.abort()
        raise
    return connection


class _Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel."""

    def __init__(self) -> None:
        self._answer = b""
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def open(self, host_and_port: str, authorization: str) -> None:
        """Raises ConnectFailed when the proxy refuses."""
        assert self._transport is not None
        lines = [f"CONNECT {host_and_port} HTTP/1.1", f"host: {host_and_port}"]
        if authorization:
            lines.append(f"proxy-authorization: {authorization}")
        self._transport.write("\r\n".join([*lines, "", ""]).encode())
        await self._opened

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if not end and len(head) <= TUNNEL_REPLY_LIMIT_BYTES:
            return
        if rest:
            # Nobody has spoken through the tunnel yet: these bytes are the proxy's own.
            self._refuse("proxy: spoke out of turn")
        elif not TUNNEL_OPEN.match(head):
            status = head[9:12].decode("ascii", "replace") if head.startswith(b"HTTP/1.") else "no HTTP"
            self._refuse(f"proxy: refused the tunnel ({status})")
        elif not self._opened.done():
            self._opened.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._refuse("proxy: closed the connection")

    def _refuse(self, why: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(ConnectFailed(why))


def _reason(error: OSError) -> str:
    """What went wrong, in the system's words; they hold no address and no secret."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'handshake failed'}"
    if isinstance(error, socket.gaierror):
        return f"name not found: {error.strerror}"
    if error.errno is not None:
        return os.strerror(error.errno)
    return "connection closed" if isinstance(error, ConnectionError) else "no address could be reached"
