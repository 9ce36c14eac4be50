"""Makes connections: TCP, TLS, Unix sockets, tunnels through a proxy. Foreign errors are mapped here, once.

Must not know what is sent on a connection, nor how many there are.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

import msgspec

from headgate.backends.connection import Connection
from headgate.backends.dial import dial
from headgate.backends.proxy import Proxy
from headgate.backends.tunnel import Tunnel
from headgate.core.address import Address
from headgate.core.errors import ConnectFailed, SettingsError, UpstreamTimeout

Made = TypeVar("Made", bound=asyncio.Protocol)


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
    pinned: str = "",
) -> Connection:
    """Opens a connection within a time limit that covers names, TCP, the tunnel and TLS together.

    It goes to the IP address `pinned`, where one is given, without a look-up; a certificate is still held
    against the address's name. Raises ConnectFailed and UpstreamTimeout; what was half open is closed, also
    when it is cancelled.
    """
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            if address.socket_path:
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_unix_connection(make, address.socket_path)
            elif proxy is not None:
                connection = await _through(proxy, address, make, tls, pinned)
            else:
                _, connection = await _tcp(pinned or address.host, address.port, make, tls, address.host)
    except TimeoutError as error:
        raise UpstreamTimeout("connect") from error
    except OSError as error:
        raise ConnectFailed(f"connect: {_reason(error)}") from error
    if connection.closed:
        raise ConnectFailed("connect: closed at once")
    return connection


async def _tcp(
    host: str, port: int, make: Callable[[], Made], tls: ssl.SSLContext | None = None, name: str = ""
) -> tuple[asyncio.Transport, Made]:
    loop = asyncio.get_running_loop()
    raw = await dial(host, port)
    try:
        return await loop.create_connection(make, sock=raw, ssl=tls, server_hostname=name if tls else None)
    except BaseException:
        # The loop owns the descriptor by now, and closes it. uvloop before 0.23 left it with the socket too:
        # at its end that would close whatever has got the same number in the meantime.
        raw.detach()
        raise


async def _through(
    proxy: Proxy, address: Address, make: Callable[[], Connection], tls: ssl.SSLContext | None, pinned: str
) -> Connection:
    """A tunnel through a proxy, and TLS inside it where the address asks for it."""
    loop = asyncio.get_running_loop()
    transport, tunnel = await _tcp(proxy.host, proxy.port, Tunnel)
    try:
        there = msgspec.structs.replace(address, host=pinned) if pinned else address
        await tunnel.open(there.host_and_port, proxy.authorization)
        connection = make()
        connection.connection_made(transport)
        if tls is None:
            transport.set_protocol(connection)
            transport.resume_reading()
        else:
            secured = await loop.start_tls(transport, connection, tls, server_hostname=address.host)
            assert secured is not None
            connection.connection_made(secured)
    except BaseException:
        transport.abort()
        raise
    return connection


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
