"""Listening, TLS, the limit on connections, and stopping."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import msgspec
import pytest
import trustme

from headgate.app import tls_context
from headgate.core.settings import File
from headgate.core.settings import Server as Settings
from headgate.edge import server as server_module
from headgate.edge.exchange import Exchange
from headgate.edge.limits import REFUSED_CONNECTIONS, TICK_S
from headgate.edge.route import Route
from tests.conftest import run
from tests.edge.serving import GET, Client, answering, chunked, echoing, post, serving, until

PLAIN = b"content-type: text/plain\r\n"
EVENTS = b"content-type: text/event-stream\r\n"

# --- TLS --------------------------------------------------------------------------------------------


class Identity:
    """A certificate for localhost on disk, and what a client needs to believe it."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        self.key.write_bytes(certificate.private_key_pem.bytes())
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)

    def context(self) -> ssl.SSLContext:
        """The server's side, from the files, as `headgate serve` makes it."""
        settings = msgspec.structs.replace(
            Settings(), tls_cert_file=File(self.certificate), tls_key_file=File(self.key)
        )
        context = tls_context(settings)
        assert context is not None
        return context


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity(tmp_path_factory.mktemp("tls"))


def test_tls(identity: Identity) -> None:
    async def main() -> None:
        async with echoing(tls=identity.context(), trust=identity.trust) as service:
            client = await service.connect()
            for body in (b"x", b"x" * 1_000_000):
                assert (await client.ask(post(body))).body == body
                assert (await client.ask(chunked(body))).body == body
            assert client.writer.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
            client.close()
            await until(lambda: not service.server.connections)

    run(main())


def test_tls_offers_http_1_1_only(identity: Identity) -> None:
    async def main() -> None:
        async with echoing(tls=identity.context(), trust=identity.trust) as service:
            identity.trust.set_alpn_protocols(["h2", "http/1.1"])
            client = await service.connect()
            assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"

    run(main())


def test_tls_floods_are_paused_too(identity: Identity) -> None:
    """Bytes that were held back come before those that the TLS layer still has."""

    async def main() -> None:
        async with echoing(tls=identity.context(), trust=identity.trust) as service:
            client = await service.connect()
            count = 20_000
            flood = b"".join(b"GET /echo?%d HTTP/1.1\r\nhost: a\r\n\r\n" % number for number in range(count))
            sending = asyncio.ensure_future(client.send(flood))
            for number in range(count):
                assert (await client.reply()).header(b"x-number") == b"%d" % (number + 1)
            await sending
            assert [seen.target for seen in service.seen] == [b"/echo?%d" % number for number in range(count)]

    run(main(), timeout_s=120)


def test_over_tls_a_refusal_reaches_a_client_that_is_still_sending(identity: Identity) -> None:
    async def main() -> None:
        async with echoing(tls=identity.context(), trust=identity.trust) as service:
            client = await service.connect()
            await client.send(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 30000000\r\n\r\n")
            await client.send(*[b"x" * 1_000_000] * 30)
            reply = await client.reply()
            assert (reply.status, reply.closes) == (413, True)

    run(main())


def test_a_hang_up_over_tls_cancels(identity: Identity) -> None:
    async def main() -> None:
        cancelled = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            exchange.begin(200, EVENTS)
            exchange.write(b"data: 1\n\n")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        route = Route("GET", "/echo", answer)
        async with serving(route, tls=identity.context(), trust=identity.trust) as service:
            client = await service.connect()
            await client.send(GET)
            await client.head()
            client.close()
            await cancelled.wait()

    run(main())


def test_plain_http_on_a_tls_port_harms_nobody(identity: Identity) -> None:
    async def main() -> None:
        async with echoing(tls=identity.context(), trust=identity.trust) as service:
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(GET)
            try:
                await reader.read()
            except ConnectionError:
                pass
            writer.close()
            assert service.seen == []
            assert (await service.ask(GET)).status == 200

    run(main())


def test_a_handshake_that_does_not_end_has_a_limit(identity: Identity) -> None:
    async def main() -> None:
        async with echoing(tls=identity.context(), trust=identity.trust, header_timeout_ms=50) as service:
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            try:
                assert await reader.read() == b""
            except ConnectionError:
                pass
            writer.close()

    run(main())


# --- connections --------------------------------------------------------------------------------------


def test_connections_over_the_limit_are_told() -> None:
    async def main() -> None:
        async with echoing(connections=3) as service:
            clients = [await service.connect() for _ in range(3)]
            for client in clients:
                assert (await client.ask(GET)).status == 200
            over = await service.connect()
            await over.send(GET)
            reply = await over.reply()
            assert (reply.status, reply.closes) == (503, True)
            assert reply.header(b"retry-after") == b"1"
            assert await over.ended() == b""
            over.close()
            clients[0].close()
            await until(lambda: len(service.server.connections) == 2)
            again = await service.connect()
            assert (await again.ask(GET)).status == 200
            assert len(service.seen) == 4

    run(main())


def test_far_over_the_limit_nobody_is_told() -> None:
    async def main() -> None:
        async with echoing(connections=1) as service:
            clients = [await service.connect() for _ in range(REFUSED_CONNECTIONS + 20)]
            outcomes = [await status_of(client) for client in clients[1:]]
            assert outcomes.count(503) >= 1
            assert outcomes.count(0) >= 1
            assert len(service.server.connections) <= REFUSED_CONNECTIONS + 1

    run(main())


async def status_of(client: Client) -> int:
    """The status that the server sent unasked, or 0 when it just closed."""
    try:
        return (await client.head())[0]
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0


def test_the_clock_runs_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "TICK_S", 0.01)

    async def main() -> None:
        async with echoing(header_timeout_ms=50, idle_timeout_ms=50) as service:
            client = await service.connect()
            await client.send(GET[:10])
            assert (await client.reply()).status == 408
            assert await client.ended() == b""
            client = await service.connect()
            assert (await client.ask(GET)).status == 200
            assert await client.ended() == b""

    run(main())


def test_no_limit_ends_early() -> None:
    """The server looks at its clock twice a second, so the clock may be half a second behind."""

    async def main() -> None:
        async with echoing(header_timeout_ms=100) as service:
            await asyncio.sleep(TICK_S * 0.9)  # the clock is behind: a limit set by it has nearly passed
            client = await service.connect()
            await until(lambda: bool(service.server.connections))
            loop = asyncio.get_running_loop()
            assert service.connection.deadline_s >= loop.time() + 0.05
            assert (await client.ask(GET)).status == 200

    run(main())


def test_new_limits_hold_for_open_connections() -> None:
    async def main() -> None:
        async with echoing(cors_origins=()) as service:
            client = await service.connect()
            assert (await client.ask(GET)).status == 200
            service.server.configure(
                msgspec.structs.replace(Settings(), header_count=8, cors_origins=("https://a",))
            )
            assert (await client.ask(GET[:-2] + b"origin: https://a\r\n\r\n")).header(
                b"access-control-allow-origin"
            ) == b"https://a"
            assert (await client.ask(GET[:-2] + b"x: y\r\n" * 8 + b"\r\n")).status == 431

    run(main())


# --- stopping -----------------------------------------------------------------------------------------


def test_stopping_refuses_new_connections_and_closes_idle_ones() -> None:
    async def main() -> None:
        async with echoing() as service:
            idle, half = await service.connect(), await service.connect()
            assert (await idle.ask(GET)).status == 200
            await half.send(GET[:10])
            await until(lambda: len(service.server.connections) == 2)
            await service.server.stop(30)
            assert await idle.ended() == b""
            assert await half.ended() == b""
            with pytest.raises(OSError, match="refused"):
                await asyncio.get_running_loop().run_in_executor(
                    None, socket.create_connection, ("127.0.0.1", service.port)
                )

    run(main())


def test_stopping_lets_streams_end() -> None:
    async def main() -> None:
        going = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            exchange.begin(200, EVENTS)
            exchange.write(b"data: 1\n\n")
            await going.wait()
            exchange.finish(b"data: [DONE]\n\n")

        async with answering(answer) as service:
            client = await service.connect()
            await client.send(GET + GET)
            await until(lambda: len(service.seen) == 1)
            stopping = asyncio.ensure_future(service.server.stop(60))
            await asyncio.sleep(0)
            going.set()
            reply = await client.reply()
            assert reply.body == b"data: 1\n\ndata: [DONE]\n\n"
            # What waits behind it was not begun: the client sees that from the connection's end.
            assert await client.ended() == b""
            await stopping
            assert len(service.seen) == 1

    run(main())


def test_after_the_grace_period_streams_end_with_an_error() -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            if exchange.query != b"late":
                exchange.begin(200, EVENTS)
                exchange.write(b"data: 1\n\n")
            await asyncio.Event().wait()

        async with answering(answer) as service:
            stream, late = await service.connect(), await service.connect()
            await stream.send(GET)
            await late.send(b"GET /echo?late HTTP/1.1\r\nhost: a\r\n\r\n")
            await until(lambda: len(service.seen) == 2)
            await service.server.stop(0)
            reply = await stream.reply()
            assert reply.body.startswith(
                b'data: 1\n\ndata: {"error":{"message":"The server is shutting down."'
            )
            assert await stream.ended() == b""
            reply = await late.reply()
            assert (reply.status, reply.closes) == (503, True)
            assert await late.ended() == b""

    run(main())


def test_stopping_waits_for_a_body_that_still_comes() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            request = post(b"abc")
            await client.send(request[:-1])
            await until(
                lambda: bool(service.server.connections) and service.connection._receiving is not None
            )
            stopping = asyncio.ensure_future(service.server.stop(60))
            await asyncio.sleep(0)
            reply = await client.ask(request[-1:])
            assert (reply.body, reply.closes) == (b"abc", True)
            await stopping

    run(main())


def test_stopping_does_not_wait_for_a_body_that_was_refused() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            await client.send(b"POST /none HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n")
            assert (await client.reply()).status == 404
            stopping = asyncio.ensure_future(service.server.stop(60))
            assert await client.ended() == b""
            client.close()
            await stopping

    run(main())


def test_stopping_ends_connections_that_nobody_reads() -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.reply(200, PLAIN, b"x" * 20_000_000)

        async with answering(answer) as service:
            client = await service.connect(receive_bytes=10_000)
            client.stop_reading()
            await client.send(GET)
            await until(lambda: bool(service.server.connections) and service.connection.writing_paused)
            await service.server.stop(0)
            await until(lambda: not service.server.connections)

    run(main())
