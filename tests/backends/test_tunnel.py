"""Tunnels through an HTTP proxy, with TLS inside or without: what can go wrong, and no secret in a text."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from headgate.backends.proxy import Proxy
from headgate.core.address import Address
from headgate.core.errors import ConnectFailed, UpstreamTimeout
from tests.backends.certificates import Authority
from tests.backends.scripted import (
    Line,
    answering,
    ask,
    pooled,
    scripted,
)
from tests.conftest import run

SECRET = "Basic Z2F0ZTpodW50ZXIy"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One for all tests of a module."""
    return Authority(tmp_path_factory.mktemp("authority"))


async def splice(line: Line, port: int) -> None:
    """What a proxy does once a tunnel is open: carries bytes both ways."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()

    await asyncio.gather(carry(line.reader, writer), carry(reader, line.writer))


@pytest.mark.parametrize("secure", [True, False], ids=["https", "http"])
def test_a_tunnel_through_a_proxy(authority: Authority, secure: bool) -> None:
    async def main() -> None:
        asked: list[bytes] = []

        async def proxying(line: Line) -> None:
            asked.append(await line.request())
            await line.send(b"HTTP/1.1 200 Connection ", b"established\r\nvia: x\r\n\r\n")
            await splice(line, upstream.port)

        async with (
            scripted(answering, tls=authority.server() if secure else None, host="localhost") as upstream,
            scripted(proxying) as proxy,
            pooled(
                Address("localhost", upstream.port, secure),
                proxy=Proxy("127.0.0.1", proxy.port, SECRET),
                tls=authority.client() if secure else None,
            ) as pool,
        ):
            for _ in range(3):
                assert await ask(pool) == b"ok"
            assert asked == [
                b"CONNECT localhost:%d HTTP/1.1\r\nhost: localhost:%d\r\nproxy-authorization: %b\r\n\r\n"
                % (upstream.port, upstream.port, SECRET.encode())
            ]
            assert len(upstream.lines) == 1

    run(main())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
            r"refused the tunnel \(407\)",
        ),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", r"refused the tunnel \(502\)"),
        (b"HTTP/1.1 abc\r\n\r\n", "no HTTP"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "out of turn"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000, "too long"),
        (b"", "closed"),
    ],
    ids=["407", "502", "no status", "no HTTP", "out of turn", "too long", "closed"],
)
def test_a_proxy_that_refuses(answer: bytes, words: str) -> None:
    async def main() -> None:
        async def script(line: Line) -> None:
            await line.request()
            await line.send(answer)
            if answer:
                await line.gone()

        async with scripted(script) as proxy:
            address = Address("api.invalid", 443, tls=True)
            async with pooled(address, proxy=Proxy("127.0.0.1", proxy.port, SECRET)) as pool:
                with pytest.raises(ConnectFailed, match=rf"^proxy: .*({words})") as caught:
                    await ask(pool)
                await proxy.ended()
                assert SECRET not in "".join(traceback.format_exception(caught.value))
                assert SECRET not in f"{pool!r} {pool._proxy!r}"

    run(main())


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "timed out"])
@pytest.mark.parametrize("opened", [True, False], ids=["in the handshake", "before the tunnel"])
def test_a_tunnel_that_never_comes(authority: Authority, opened: bool, cancelled: bool) -> None:
    async def main() -> None:
        asked = asyncio.Event()
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            if opened:
                await line.send(b"HTTP/1.1 200 OK\r\n\r\n")
                await line.reader.read(10)
            asked.set()
            await line.gone()
            gone.set()

        async with scripted(script) as proxy:
            address = Address("localhost", 443, tls=True)
            limit_ms = 60_000 if cancelled else 100
            async with pooled(
                address,
                proxy=Proxy("127.0.0.1", proxy.port),
                tls=authority.client(),
                connect_timeout_ms=limit_ms,
            ) as pool:
                asking = asyncio.ensure_future(ask(pool))
                await asked.wait()
                if cancelled:
                    asking.cancel()
                with pytest.raises(asyncio.CancelledError if cancelled else UpstreamTimeout):
                    await asking
                await gone.wait()
                assert pool.open == 0

    run(main())


def test_a_tunnel_ends_at_a_wrong_certificate(authority: Authority) -> None:
    async def main() -> None:
        async def proxying(line: Line) -> None:
            await line.request()
            await line.send(b"HTTP/1.1 200 OK\r\n\r\n")
            await splice(line, upstream.port)

        async with (
            scripted(answering, tls=authority.server("other.example")) as upstream,
            scripted(proxying) as proxy,
            pooled(
                Address("localhost", 443, tls=True),
                proxy=Proxy("127.0.0.1", proxy.port),
                tls=authority.client(),
            ) as pool,
        ):
            with pytest.raises(ConnectFailed, match="certificate refused"):
                await ask(pool)
            await proxy.ended()

    run(main())
