"""How connections are made over TCP, TLS and Unix sockets: what goes wrong, and that nothing is left."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from headgate.backends.connect import connect, tls_context
from headgate.backends.connection import CLOSED, Connection
from headgate.backends.proxy import Proxy
from headgate.core.address import Address
from headgate.core.errors import ConnectFailed, ConnectionLost, SettingsError, UpstreamError, UpstreamTimeout
from tests.backends.certificates import Authority
from tests.backends.scripted import (
    GET,
    OK,
    Line,
    answering,
    ask,
    full_backlog,
    open_sockets,
    pooled,
    post,
    scripted,
    silent,
    until,
)
from tests.conftest import run, unused_port

# --- TCP and Unix sockets -----------------------------------------------------------------------------------


def test_a_unix_socket(tmp_path: Path) -> None:
    async def main() -> None:
        async with scripted(answering, str(tmp_path / "engine.sock")) as upstream:
            async with pooled(upstream.address, proxy=Proxy("proxy.invalid", 1)) as pool:
                assert await ask(pool) == b"ok"
                assert await ask(pool) == b"ok"
            assert len(upstream.lines) == 1

    run(main())


def test_a_name_is_looked_up() -> None:
    async def main() -> None:
        async with scripted(answering) as upstream, pooled(Address("localhost", upstream.port)) as pool:
            assert await ask(pool) == b"ok"

    run(main())


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (Address("127.0.0.1", 0), "refused"),
        (Address("name.invalid", 80), "name not found"),
        (Address("a" * 70 + ".invalid", 80), "name not found"),
        (Address("a..invalid", 80), "name not found"),
        (Address(socket_path="/nowhere/engine.sock"), "No such file"),
    ],
)
def test_what_cannot_be_reached(address: Address, words: str) -> None:
    async def main() -> None:
        target = address if address.port or address.socket_path else Address("127.0.0.1", unused_port())
        async with pooled(target) as pool:
            for _ in range(2):
                with pytest.raises(ConnectFailed, match=rf"^connect: .*{words}"):
                    await ask(pool)
            assert pool.open == 0

    run(main())


def test_connecting_takes_too_long() -> None:
    async def main() -> None:
        with full_backlog() as port:
            before = open_sockets()
            async with pooled(Address("127.0.0.1", port), connect_timeout_ms=100) as pool:
                with pytest.raises(UpstreamTimeout) as caught:
                    await ask(pool)
                assert caught.value.phase == "connect"
                await until(lambda: open_sockets() <= before)

    run(main())


def test_cancelling_while_it_connects_leaves_nothing() -> None:
    async def main() -> None:
        with full_backlog() as port:
            before = open_sockets()
            async with pooled(Address("127.0.0.1", port)) as pool:
                sending = [asyncio.ensure_future(ask(pool)) for _ in range(10)]
                await until(lambda: open_sockets() >= before + 10)
                for task in sending:
                    task.cancel()
                await asyncio.wait(sending)
                assert all(task.cancelled() for task in sending)
                await until(lambda: open_sockets() <= before)

    run(main())


def test_cancelling_while_a_name_is_looked_up_leaves_nothing() -> None:
    async def main() -> None:
        async with pooled(Address("name.invalid", 80)) as pool:
            for turns in range(4):
                asking = asyncio.ensure_future(ask(pool))
                for _ in range(turns):
                    await asyncio.sleep(0)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
            # One that is waited for shows that the others have come to their end.
            with pytest.raises(ConnectFailed):
                await ask(pool)
            gc.collect()

    run(main())


def test_a_server_that_hangs_up_at_once() -> None:
    async def main() -> None:
        async def script(line: Line) -> None:
            line.reset()

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            for _ in range(50):
                with pytest.raises((ConnectFailed, ConnectionLost)) as caught:
                    await ask(pool)
                assert not getattr(caught.value, "answered", False)
                assert pool.open == 0

    run(main())


def test_a_connection_that_is_lost_while_it_is_made_is_not_used() -> None:
    made: list[Connection] = []

    class Lost(Connection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self._phase = CLOSED
            made.append(self)

    async def main() -> None:
        async with scripted(silent) as upstream, pooled(upstream.address) as pool:

            def make() -> Lost:
                return Lost(pool, asyncio.get_running_loop(), 60_000)

            with pytest.raises(ConnectFailed, match="closed at once"):
                await connect(upstream.address, make, proxy=None, tls=None, timeout_ms=60_000)
            made[0].transport.abort()
            await until(lambda: len(upstream.lines) == 1)
            await upstream.ended()

    run(main())


# --- TLS ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One for all tests of a module."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_tls_with_a_custom_authority(authority: Authority, name: str) -> None:
    async def main() -> None:
        seen: list[tuple[str | None, str | None]] = []
        body = b"x" * 3_000_000

        async def script(line: Line) -> None:
            connection = line.writer.get_extra_info("ssl_object")
            seen.append((connection.selected_alpn_protocol(), connection.version()))
            while True:
                assert await line.request() == post(body) + body
                await line.send(OK)

        async with (
            scripted(script, tls=authority.server(name), host=name) as upstream,
            pooled(upstream.address, tls=authority.client()) as pool,
        ):
            for _ in range(3):
                reply = await pool.send(post(body), body)
                assert await reply.read(10) == b"ok"
                reply.close()
            assert seen == [("http/1.1", "TLSv1.3")]

    run(main())


@pytest.mark.parametrize(
    ("name", "expired", "custom", "words"),
    [
        ("other.example", False, True, "certificate refused: .*mismatch"),
        ("localhost", True, True, "certificate refused: .*expired"),
        ("localhost", False, False, "certificate refused: "),
    ],
    ids=["wrong name", "expired", "unknown authority"],
)
def test_certificates_that_are_refused(
    authority: Authority, name: str, expired: bool, custom: bool, words: str
) -> None:
    async def main() -> None:
        requests = 0

        async def script(line: Line) -> None:
            nonlocal requests
            await line.request()
            requests += 1

        async with (
            scripted(script, tls=authority.server(name, expired=expired), host="localhost") as upstream,
            pooled(upstream.address, tls=authority.client() if custom else None) as pool,
        ):
            before = open_sockets()
            with pytest.raises(ConnectFailed, match=words):
                await ask(pool)
            await upstream.ended()
            await until(lambda: open_sockets() <= before)
            assert requests == 0
            assert pool.open == 0

    run(main())


def test_tls_to_a_server_that_speaks_none(authority: Authority) -> None:
    async def main() -> None:
        async def script(line: Line) -> None:
            await line.reader.read(10)
            await line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with scripted(script) as upstream:
            address = Address("localhost", upstream.port, tls=True)
            async with pooled(address, tls=authority.client()) as pool:
                with pytest.raises(ConnectFailed, match=r"^connect: "):
                    await ask(pool)

    run(main())


def test_a_handshake_that_is_broken_off(authority: Authority) -> None:
    async def main() -> None:
        async def script(line: Line) -> None:
            await line.reader.read(10)

        async with scripted(script) as upstream:
            address = Address("localhost", upstream.port, tls=True)
            async with pooled(address, tls=authority.client()) as pool:
                with pytest.raises(ConnectFailed, match=r"^connect: "):
                    await ask(pool)

    run(main())


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "timed out"])
def test_a_handshake_that_never_ends(authority: Authority, cancelled: bool) -> None:
    async def main() -> None:
        greeted = asyncio.Event()
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.reader.read(10)
            greeted.set()
            await line.gone()
            gone.set()

        async with scripted(script) as upstream:
            address = Address("localhost", upstream.port, tls=True)
            limit_ms = 60_000 if cancelled else 100
            async with pooled(address, tls=authority.client(), connect_timeout_ms=limit_ms) as pool:
                asking = asyncio.ensure_future(ask(pool))
                await greeted.wait()
                if cancelled:
                    asking.cancel()
                with pytest.raises(asyncio.CancelledError if cancelled else UpstreamTimeout):
                    await asking
                await gone.wait()
                assert pool.open == 0

    run(main())


@pytest.mark.parametrize("phase", ["head", "body"])
def test_cancelling_hangs_up_under_tls_too(authority: Authority, phase: str) -> None:
    async def main() -> None:
        asked = asyncio.Event()
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            if phase == "body":
                await line.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
            asked.set()
            await line.gone()
            gone.set()

        async with (
            scripted(script, tls=authority.server(), host="localhost") as upstream,
            pooled(upstream.address, tls=authority.client()) as pool,
        ):
            arrived = asyncio.Event()

            async def read() -> None:
                reply = await pool.send(GET, b"")
                await reply.pump(lambda _: arrived.set())

            reading = asyncio.ensure_future(read())
            await (arrived if phase == "body" else asked).wait()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await gone.wait()
            assert pool.open == 0

    run(main())


def test_a_tls_body_is_whole_only_with_a_proper_goodbye(authority: Authority) -> None:
    """A body that only the connection's end ends can be cut by anybody on the way: TLS tells."""

    async def main() -> None:
        proper = True

        async def script(line: Line) -> None:
            await line.request()
            await line.send(b"HTTP/1.1 200 OK\r\n\r\nwhole")
            if not proper:
                line.writer.transport.abort()

        async with (
            scripted(script, tls=authority.server(), host="localhost") as upstream,
            pooled(upstream.address, tls=authority.client()) as pool,
        ):
            assert await ask(pool) == b"whole"
            proper = False
            with pytest.raises(UpstreamError):
                await ask(pool)

    run(main())


def test_a_paused_reply_is_bounded_under_tls_too(authority: Authority) -> None:
    async def main() -> None:
        size = 32_000_000
        sent = 0

        async def script(line: Line) -> None:
            nonlocal sent
            await line.request()
            await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            while sent < size:
                await line.send(b"x" * 64_000)
                sent += 64_000
            await line.gone()

        async with (
            scripted(script, tls=authority.server(), host="localhost") as upstream,
            pooled(upstream.address, tls=authority.client()) as pool,
        ):
            reply = await pool.send(GET, b"")
            before = -1
            while sent != before or not sent:
                before = sent
                await asyncio.sleep(0.1)
            assert reply._waiting_bytes < 1_000_000
            assert sent < size
            assert len(await reply.read(size)) == size
            reply.close()
            assert pool.idle == 1

    run(main())


def test_contexts_are_shared_and_a_missing_file_is_named(authority: Authority, tmp_path: Path) -> None:
    assert authority.client() is authority.client()
    assert tls_context() is tls_context()
    with pytest.raises(SettingsError, match=r"missing\.pem"):
        tls_context(str(tmp_path / "missing.pem"))
    (tmp_path / "empty.pem").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"empty\.pem"):
        tls_context(str(tmp_path / "empty.pem"))
