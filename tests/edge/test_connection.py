"""Keep-alive, pipelining, older and newer protocols, and what becomes of requests when connections end."""

from __future__ import annotations

import asyncio
import socket

import pytest

from headgate.core.errors import BadRequest
from headgate.edge import wire
from headgate.edge.exchange import Exchange
from headgate.edge.limits import PIPELINED
from headgate.edge.route import Route
from tests.conftest import run
from tests.edge.serving import GET, Client, answering, chunked, echoing, let_pass, post, serving, until

EMPTY = b"content-type: text/plain\r\n"


class Held:
    """An answer that waits until the test lets it go; counts those that were cancelled."""

    def __init__(self) -> None:
        self.going = asyncio.Event()
        self.cancelled = 0
        self.done = 0

    async def __call__(self, exchange: Exchange) -> None:
        try:
            await self.going.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        exchange.reply(200, EMPTY, exchange.query or exchange.target)
        self.done += 1


def numbered(count: int) -> list[bytes]:
    return [b"GET /echo?%d HTTP/1.1\r\nhost: a\r\n\r\n" % number for number in range(count)]


# --- keep-alive -------------------------------------------------------------------------------------


def test_one_connection_serves_many_requests() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            for number in range(1, 201):
                body = b"%d" % number
                reply = await client.ask(post(body))
                assert (reply.status, reply.body) == (200, body)
                assert reply.header(b"x-number") == body
                assert reply.header(b"connection") is None
            assert len(service.server.connections) == 1

    run(main())


def test_every_reply_has_its_own_id_and_a_date() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            replies = [await client.ask(GET) for _ in range(3)]
            ids = {reply.header(b"x-request-id") for reply in replies}
            assert len(ids) == 3
            assert None not in ids
            assert all(str(reply.header(b"date")).endswith("GMT'") for reply in replies)

    run(main())


def test_connection_close_is_obeyed() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            reply = await client.ask(b"GET /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert reply.status == 200
            assert reply.closes
            assert await client.ended() == b""

    run(main())


def test_nothing_after_connection_close_is_served() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            reply = await client.ask(b"GET /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" + GET)
            assert reply.status == 200
            assert await client.ended() == b""
            assert len(service.seen) == 1

    run(main())


def test_a_refused_request_keeps_the_connection() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            for request, status in [
                (b"GET /none HTTP/1.1\r\nhost: a\r\n\r\n", 404),
                (post(b"x" * 1000, path=b"/none"), 404),
                (b"PUT /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", 405),
                (post(b"abc", b"content-encoding: br"), 415),
                (GET, 200),
            ]:
                reply = await client.ask(request)
                assert (reply.status, reply.closes) == (status, False)

    run(main())


def test_a_failed_handler_keeps_the_connection() -> None:
    async def main() -> None:
        fail = True

        async def answer(exchange: Exchange) -> None:
            if fail:
                raise BadRequest("no")
            exchange.reply(200, EMPTY, b"yes")

        async with answering(answer) as service:
            client = await service.connect()
            assert (await client.ask(GET)).status == 400
            fail = False
            assert (await client.ask(GET)).body == b"yes"

    run(main())


def test_a_handler_that_breaks_says_nothing_of_why(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            raise RuntimeError("secret detail")

        async with answering(answer) as service:
            client = await service.connect()
            reply = await client.ask(GET)
            assert reply.status == 500
            assert reply.json["error"]["type"] == "server_error"
            assert b"secret" not in reply.body
            assert (await client.ask(GET)).status == 500

    run(main())
    assert "secret detail" in caplog.text


# --- HTTP/1.0, upgrades, targets ----------------------------------------------------------------------


def test_http_1_0_closes() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            reply = await client.ask(b"GET /echo HTTP/1.0\r\n\r\n")
            assert reply.status == 200
            assert reply.closes
            assert await client.ended() == b""

    run(main())


def test_http_1_0_keep_alive() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            for _ in range(3):
                reply = await client.ask(
                    b"POST /echo HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi"
                )
                assert (reply.status, reply.body) == (200, b"hi")
                assert reply.header(b"connection") == b"keep-alive"

    run(main())


def test_http_1_0_streams_end_with_the_connection() -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.begin(200, EMPTY)
            exchange.write(b"one ")
            exchange.finish(b"two")

        async with answering(answer) as service:
            client = await service.connect()
            await client.send(b"GET /echo HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
            reply = await client.reply()
            assert reply.header(b"transfer-encoding") is None
            assert reply.closes
            assert reply.body == b"one two"

    run(main())


JAVA = (
    b"connection: Upgrade, HTTP2-Settings\r\nhost: 127.0.0.1\r\n"
    b"http2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
    b"upgrade: h2c\r\nuser-agent: Java-http-client/21\r\n"
)
"""What Java's HttpClient adds to every request on a plain connection until it has met HTTP/2."""


@pytest.mark.parametrize("size", [0, 3, 100_000])
@pytest.mark.parametrize("split", [False, True])
def test_an_upgrade_to_h2c_is_declined_and_the_request_served(size: int, split: bool) -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            body = b"x" * size
            head = b"POST /echo HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n" % (JAVA, size)
            for _ in range(3):
                await client.send(*((head, body) if split else (head + body,)))
                reply = await client.reply()
                assert (reply.status, reply.body) == (200, body)
                assert reply.header(b"upgrade") is None
            reply = await client.ask(b"GET /echo HTTP/1.1\r\n%b\r\n" % JAVA)
            assert reply.status == 200
            assert len(service.seen) == 4

    run(main())


def test_an_upgrade_with_chunks_cut_anywhere_is_served() -> None:
    request = b"POST /echo HTTP/1.1\r\n%btransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % JAVA

    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            for cut in range(1, len(request)):
                await client.send(request[:cut])
                await asyncio.sleep(0)
                await client.send(request[cut:])
                assert (await client.reply()).body == b"abc"

    run(main())


def test_hundreds_of_upgrades_in_one_read_are_all_served() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            one = b"GET /echo HTTP/1.1\r\nhost: a\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
            await client.send(one * 2000)
            for _ in range(2000):
                assert (await client.reply()).status == 200

    run(main(), timeout_s=120)


def test_a_request_that_waits_after_an_upgrade_keeps_its_time_limit() -> None:
    """The limit of a declined upgrade is the body's, and ends with it."""

    async def main() -> None:
        held = Held()
        async with answering(held, body_timeout_ms=1, header_timeout_ms=1) as service:
            client = await service.connect()
            await client.send(b"GET /echo HTTP/1.1\r\n%b\r\n" % JAVA)
            await until(lambda: len(service.seen) == 1)
            assert service.connection.deadline_s == float("inf")
            held.going.set()
            assert (await client.reply()).status == 200

    run(main())


# --- pipelining -------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order() -> None:
    async def main() -> None:
        running = 0

        async def answer(exchange: Exchange) -> None:
            nonlocal running
            running += 1
            assert running == 1, "one at a time"
            await asyncio.sleep(0)
            exchange.reply(200, EMPTY, exchange.query)
            running -= 1

        async with answering(answer) as service:
            client = await service.connect()
            await client.send(b"".join(numbered(PIPELINED)))
            for number in range(PIPELINED):
                assert (await client.reply()).body == b"%d" % number

    run(main())


def test_pipelined_bodies_stay_with_their_requests() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            bodies = [b"a" * 100_000, b"", b"b", b"c" * 300_000, b"d" * 9000] * 4
            await asyncio.gather(
                client.send(b"".join(post(body) if body else GET for body in bodies)),
                read_all(client, bodies),
            )

    async def read_all(client: Client, bodies: list[bytes]) -> None:
        for body in bodies:
            assert (await client.reply()).body == body

    run(main())


def test_pipelined_chunks_stay_with_their_requests() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            bodies = [b"a" * 100_000, b"b", b"c" * 9000] * 5
            await client.send(
                b"".join(chunked(*(body[n : n + 1000] for n in range(0, len(body), 1000))) for body in bodies)
            )
            for body in bodies:
                assert (await client.reply()).body == body

    run(main())


def test_a_flood_of_requests_pauses_reading_and_all_are_answered() -> None:
    """However many requests one read holds, only some wait at a time; none is lost."""

    async def main() -> None:
        held = Held()
        async with answering(held) as service:
            client = await service.connect()
            flood = b"".join(numbered(20_000))
            sending = asyncio.ensure_future(client.send(flood))
            await until(lambda: bool(service.server.connections) and service.connection._paused_reading)
            for _ in range(200):
                await asyncio.sleep(0)
            # One bite's requests may come on top of the limit; a request takes 36 octets or more.
            assert len(service.connection._queue) <= PIPELINED + 8192 // 36
            assert len(service.connection._held) <= 300_000
            held.going.set()
            for number in range(20_000):
                assert (await client.reply()).body == b"%d" % number
            await sending
            assert (await client.ask(GET)).status == 200

    run(main(), timeout_s=120)


def test_a_pipelined_body_waits_outside_until_its_turn() -> None:
    """Else anyone could make us keep sixteen large bodies for each connection."""

    async def main() -> None:
        held = Held()
        async with answering(held, limit_bytes=100_000_000) as service:
            client = await service.connect()
            await client.send(GET)
            await until(lambda: len(service.seen) == 1)
            sending = asyncio.ensure_future(client.send(post(b"x" * 50_000_000)))
            await until(lambda: service.connection._paused_reading)
            for _ in range(200):
                await asyncio.sleep(0)
            (waiting,) = service.connection._queue
            assert waiting.received_bytes <= 600_000
            held.going.set()
            assert (await client.reply()).status == 200
            assert (await client.reply()).status == 200
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    run(main())


def test_the_time_limits_rest_while_reading_is_paused() -> None:
    async def main() -> None:
        held = Held()
        async with answering(held, body_timeout_ms=1, header_timeout_ms=1) as service:
            client = await service.connect()
            await client.send(GET)
            await until(lambda: len(service.seen) == 1)
            # The limit is 1 ms: it must have passed many times before the client is heard again.
            body = b"x" * 900_000
            sending = asyncio.ensure_future(client.send(post(body)))
            await until(lambda: service.connection._paused_reading)
            for _ in range(3):
                let_pass(service, 1)
            service.server.body_timeout_s = 60.0
            held.going.set()
            assert (await client.reply()).status == 200
            await sending
            assert (await client.reply()).status == 200

    run(main())


def test_replies_that_nobody_reads_do_not_pile_up() -> None:
    """A pipeline's next request is served when the client has taken most of the last reply."""

    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.reply(200, EMPTY, b"x" * 100_000)

        async with answering(answer) as service:
            client = await service.connect(receive_bytes=10_000)
            client.stop_reading()
            sending = asyncio.ensure_future(client.send(b"".join(numbered(1000))))
            await until(lambda: bool(service.server.connections) and service.connection._paused_reading)
            for _ in range(500):
                await asyncio.sleep(0)
            # What the kernel takes comes on top: a few megabytes on the loopback device.
            assert service.connection.transport.get_write_buffer_size() < 300_000
            assert len(service.seen) < 100
            client.read_on()
            for _ in range(1000):
                assert len((await client.reply()).body) == 100_000
            await sending

    run(main())


# --- hang-ups ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["finish", "close", "reset"])
def test_a_hang_up_cancels_the_request_at_once(ending: str) -> None:
    async def main() -> None:
        held = Held()
        async with answering(held) as service:
            client = await service.connect()
            await client.send(GET)
            await until(lambda: len(service.seen) == 1)
            getattr(client, ending)()
            await until(lambda: held.cancelled == 1)
            await until(lambda: not service.server.connections)
            assert held.done == 0

    run(main())


@pytest.mark.parametrize("ending", ["finish", "close", "reset"])
def test_a_hang_up_amid_a_stream_cancels_it(ending: str) -> None:
    async def main() -> None:
        held = Held()

        async def answer(exchange: Exchange) -> None:
            exchange.begin(200, b"content-type: text/event-stream\r\n")
            exchange.write(b"data: 1\n\n")
            await held(exchange)

        async with answering(answer) as service:
            client = await service.connect()
            await client.send(GET)
            await client.head()
            await client.reader.readuntil(b"\n\n")
            getattr(client, ending)()
            await until(lambda: held.cancelled == 1)
            await until(lambda: not service.server.connections)

    run(main())


def test_a_hang_up_drops_what_waits_in_the_pipeline() -> None:
    async def main() -> None:
        held = Held()
        async with answering(held) as service:
            client = await service.connect()
            await client.send(GET * 5)
            await until(lambda: len(service.seen) == 1)
            client.close()
            await until(lambda: not service.server.connections)
            assert held.cancelled == 1
            assert len(service.seen) == 1

    run(main())


def test_a_hang_up_while_the_body_is_awaited() -> None:
    async def main() -> None:
        held = Held()
        ended: list[str] = []

        async def answer(exchange: Exchange) -> None:
            try:
                await exchange.body()
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            await held(exchange)

        async with answering(answer) as service:
            client = await service.connect()
            await client.send(post(b"abc")[:-1])
            await until(lambda: len(service.seen) == 1)
            client.close()
            await until(lambda: not service.server.connections)
            assert ended == ["cancelled"]

    run(main())


def test_a_handler_that_answers_although_the_client_has_gone() -> None:
    """What it sends goes nowhere, and nothing breaks."""

    async def main() -> None:
        answered: list[bool] = []

        async def answer(exchange: Exchange) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                exchange.begin(200, EMPTY)
                exchange.write(b"x" * 100_000)
                exchange.finish(b"y")
                answered.append(exchange.gone)

        async with answering(answer) as service:
            client = await service.connect()
            await client.send(GET)
            await until(lambda: len(service.seen) == 1)
            client.reset()
            await until(lambda: answered == [True])
            await until(lambda: not service.server.connections)

    run(main())


def test_a_reset_while_reading_is_paused() -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.reply(200, EMPTY, b"x" * 1_000_000)

        async with answering(answer) as service:
            client = await service.connect(receive_bytes=10_000)
            client.stop_reading()
            await client.send(b"".join(numbered(500)))
            await until(lambda: bool(service.server.connections) and service.connection._paused_reading)
            client.reset()
            await until(lambda: not service.server.connections)

    run(main())


def test_a_connection_that_ends_within_a_head_is_forgotten() -> None:
    async def main() -> None:
        async with echoing() as service:
            for cut in (1, 20, len(GET) - 1):
                client = await service.connect()
                await client.send(GET[:cut])
                await until(lambda: len(service.server.connections) == 1)
                client.close()
                await until(lambda: not service.server.connections)
            assert service.seen == []

    run(main())


# --- time limits: the server's clock is turned by hand --------------------------------------------------


def test_a_head_that_does_not_end_is_told_so() -> None:
    async def main() -> None:
        async with echoing(header_timeout_ms=1000) as service:
            client = await service.connect()
            await client.send(GET[:20])
            await until(lambda: bool(service.server.connections) and service.connection._in_head)
            let_pass(service, 0.9)
            await client.send(GET[20:30])
            let_pass(service, 1.6)  # counted from the first byte: a trickle gains nothing
            reply = await client.reply()
            assert (reply.status, reply.closes) == (408, True)
            assert await client.ended() == b""

    run(main())


def test_a_body_that_does_not_end_is_told_so() -> None:
    async def main() -> None:
        async with echoing(body_timeout_ms=1000) as service:
            client = await service.connect()
            await client.send(post(b"abc")[:-1])
            await until(
                lambda: bool(service.server.connections) and service.connection._receiving is not None
            )
            let_pass(service, 1.6)
            reply = await client.reply()
            assert (reply.status, reply.closes) == (408, True)
            assert await client.ended() == b""
            assert service.seen == []

    run(main())


def test_a_connection_that_says_nothing_is_closed() -> None:
    async def main() -> None:
        async with echoing(header_timeout_ms=1000) as service:
            client = await service.connect()
            await until(lambda: bool(service.server.connections))
            let_pass(service, 1.6)
            assert await client.ended() == b""

    run(main())


def test_an_idle_connection_is_closed() -> None:
    async def main() -> None:
        async with echoing(idle_timeout_ms=1000, header_timeout_ms=1000) as service:
            client = await service.connect()
            assert (await client.ask(GET)).status == 200
            let_pass(service, 0.5)
            assert (await client.ask(GET)).status == 200
            let_pass(service, 2.6)
            assert await client.ended() == b""

    run(main())


def test_empty_lines_do_not_begin_a_request() -> None:
    """Old clients send one after a body; the connection is idle all the same, and hears of no time-out."""

    async def main() -> None:
        async with echoing(idle_timeout_ms=5000, header_timeout_ms=1000) as service:
            client = await service.connect()
            assert (await client.ask(post(b"abc") + b"\r\n")).status == 200
            let_pass(service, 2)
            assert (await client.ask(GET)).status == 200
            let_pass(service, 10)
            assert await client.ended() == b""

    run(main())


def test_a_pending_reply_has_no_time_limit_here() -> None:
    async def main() -> None:
        held = Held()
        async with answering(held, idle_timeout_ms=1, header_timeout_ms=1, body_timeout_ms=1) as service:
            client = await service.connect()
            await client.send(GET)
            await until(lambda: len(service.seen) == 1)
            let_pass(service, 1e6)
            held.going.set()
            assert (await client.reply()).status == 200

    run(main())


def test_a_slow_head_behind_a_stream_is_told_after_it() -> None:
    async def main() -> None:
        held = Held()
        async with answering(held, header_timeout_ms=1000) as service:
            client = await service.connect()
            await client.send(GET + GET[:20])
            await until(lambda: len(service.seen) == 1)
            let_pass(service, 1.6)
            held.going.set()
            assert (await client.reply()).status == 200
            assert (await client.reply()).status == 408
            assert await client.ended() == b""

    run(main())


@pytest.mark.parametrize("begins", ["content-length: 60000", "content-length: 3"])
def test_a_body_that_never_comes_after_its_answer_does_not_hold_the_connection(begins: str) -> None:
    async def main() -> None:
        async with echoing(body_timeout_ms=1000) as service:
            client = await service.connect()
            reply = await client.ask(b"POST /none HTTP/1.1\r\nhost: a\r\n%b\r\n\r\n" % begins.encode())
            assert (reply.status, reply.closes) == (404, False)
            let_pass(service, 1.6)
            assert await client.ended() == b""
            client.close()
            await until(lambda: not service.server.connections)

    run(main())


def test_garbage_in_a_body_after_its_answer_ends_the_connection() -> None:
    async def main() -> None:
        async with serving(Route("GET", "/echo", Held())) as service:
            client = await service.connect()
            await client.send(b"POST /none HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n")
            assert (await client.reply()).status == 404
            await client.send(b"abc\x00\x00\x00")
            assert (await client.reply()).status == 400
            assert await client.ended() == b""

    run(main())


def test_a_client_that_takes_nothing_is_given_up() -> None:
    async def main() -> None:
        stalled = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            exchange.begin(200, EMPTY)
            try:
                while True:
                    exchange.write(b"x" * 100_000)
                    await exchange.drain()
            finally:
                stalled.set()

        async with answering(answer) as service:
            client = await service.connect(receive_bytes=10_000)
            client.stop_reading()
            await client.send(GET)
            await until(lambda: bool(service.server.connections) and service.connection.writing_paused)
            let_pass(service, 60)
            assert not stalled.is_set()
            let_pass(service, 130)
            await stalled.wait()
            await until(lambda: not service.server.connections)

    run(main())


def test_a_client_that_takes_a_little_is_kept() -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.reply(200, EMPTY, b"x" * 20_000_000)

        async with answering(answer) as service:
            client = await service.connect(receive_bytes=10_000)
            client.stop_reading()
            await client.send(GET)
            await until(lambda: bool(service.server.connections) and service.connection.writing_paused)
            before = service.connection.transport.get_write_buffer_size()
            client.read_on()
            await until(lambda: service.connection.transport.get_write_buffer_size() < before)
            let_pass(service, 130)
            assert len((await client.reply()).body) == 20_000_000

    run(main())


def test_a_closing_connection_whose_client_takes_nothing_is_given_up() -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.reply(200, EMPTY, b"x" * 20_000_000)

        async with answering(answer) as service:
            client = await service.connect(receive_bytes=10_000)
            client.stop_reading()
            await client.send(b"GET /echo HTTP/1.0\r\n\r\n")
            await until(lambda: bool(service.server.connections) and service.connection.writing_paused)
            for _ in range(100):
                await asyncio.sleep(0)
            let_pass(service, 130)
            await until(lambda: not service.server.connections)

    run(main())


def test_a_few_bytes_left_over_at_the_end_are_not_waited_for_either() -> None:
    """Too few to pause the writing, but the client takes none of them."""

    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            raw = exchange.connection.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            exchange.reply(200, EMPTY, b"x" * 60_000)

        async with answering(answer) as service:
            client = await service.connect(receive_bytes=4096)
            client.stop_reading()
            await client.send(b"GET /echo HTTP/1.0\r\n\r\n")
            await until(lambda: bool(service.seen) and service.connection.transport.is_closing())
            assert not service.connection.writing_paused
            assert service.connection.transport.get_write_buffer_size() > 0
            let_pass(service, 130)
            await until(lambda: not service.server.connections)

    run(main())


# --- the parser's own errors ----------------------------------------------------------------------------


def test_a_fault_of_ours_in_a_callback_is_logged_and_ends_the_connection(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not taken for a bad request, and nobody waits for a reply."""

    def break_down(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    async def main() -> None:
        async with echoing() as service:
            monkeypatch.setattr(wire, "head_fault", break_down)
            client = await service.connect()
            await client.send(GET)
            assert await client.ended() == b""

    run(main())
    assert "a fault of ours" in caplog.text
