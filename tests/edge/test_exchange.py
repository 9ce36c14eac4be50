"""Bodies in, replies out: framing, packing, limits and back-pressure on real sockets."""

from __future__ import annotations

import asyncio
import gzip
import random
import tracemalloc
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.core.errors import BadRequest, UpstreamFailed
from headgate.edge.exchange import Exchange
from headgate.edge.limits import DISCARD_BYTES, LINGER_MOST_S, WRITE_BUFFER_BYTES
from headgate.edge.outflow import NEVER
from tests.conftest import run
from tests.edge.serving import (
    GET,
    LIMIT_BYTES,
    Client,
    Service,
    answering,
    chunked,
    echoing,
    let_pass,
    post,
    until,
)

PLAIN = b"content-type: text/plain\r\n"
EVENTS = b"content-type: text/event-stream; charset=utf-8\r\n"


# --- bodies -----------------------------------------------------------------------------------------

PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b';a="b;c"', b";a;b=c"])
TRAILERS = st.sampled_from([b"", b"x: y\r\n", b"authorization: Bearer z\r\nhost: b\r\n"])


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A request with a body, framed in any of the ways there are, and the body."""
    pieces = draw(PIECES)
    body = b"".join(pieces)
    packed = draw(st.booleans())
    lines = b"content-encoding: gzip\r\n" if packed else b""
    if packed:
        whole = gzip.compress(body)
        cut = draw(st.integers(1, len(whole)))
        pieces = [piece for piece in (whole[:cut], whole[cut:]) if piece]
    if draw(st.booleans()):
        wire = b"".join(pieces)
        head = b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n%b\r\n" % (len(wire), lines)
        return head + wire, body
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), draw(EXTENSIONS), piece) for piece in pieces)
    head = b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n%b\r\n" % lines
    return head + chunks + b"0%b\r\n%b\r\n" % (draw(EXTENSIONS), draw(TRAILERS)), body


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(requests(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_any_cut_of_the_bytes_gives_the_same_requests(
    pipeline: list[tuple[bytes, bytes]], chance: random.Random
) -> None:
    wire = b"".join(request for request, _ in pipeline)
    cuts = sorted(chance.sample(range(1, len(wire)), min(len(wire) - 1, 12)))
    pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]

    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            await client.send(*pieces)
            for _, body in pipeline:
                reply = await client.reply()
                assert (reply.status, reply.body) == (200, body)
            assert [seen.body for seen in service.seen] == [body for _, body in pipeline]

    run(main())


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b"hello"),
        chunked(b"he", b"l", b"lo"),
        chunked(b"hello", end=b"0;x=y\r\na: b\r\n\r\n"),
        post(gzip.compress(b"hello"), b"content-encoding: gzip"),
        post(b"hello", b"expect: 100-continue"),
    ],
    ids=["length", "chunks", "trailer", "gzip", "expect"],
)
def test_every_single_cut(request_bytes: bytes) -> None:
    async def main() -> None:
        async with echoing() as service:
            (client,) = [await service.connect()]
            (connection,) = await connections(service)
            for cut in range(1, len(request_bytes)):
                # Straight into the protocol: on a socket, two sends may well arrive as one.
                connection.data_received(request_bytes[:cut])
                await asyncio.sleep(0)
                connection.data_received(request_bytes[cut:])
                reply = await client.reply()
                while reply.status == 100:
                    reply = await client.reply()
                assert (reply.status, reply.body) == (200, b"hello")

    run(main())


async def connections(service: Service) -> list[asyncio.Protocol]:
    await until(lambda: bool(service.server.connections))
    return list(service.server.connections)


def test_a_large_body_arrives_whole() -> None:
    async def main() -> None:
        body = random.Random(1).randbytes(30_000_000)

        async def answer(exchange: Exchange) -> None:
            exchange.reply(200, PLAIN, await exchange.body())

        async with answering(answer, limit_bytes=30_000_000) as service:
            for request in (
                post(body),
                chunked(*(body[n : n + 70_000] for n in range(0, len(body), 70_000))),
            ):
                client = await service.connect()
                sending = asyncio.ensure_future(client.send(request))
                reply = await client.reply()
                assert reply.body == body
                await sending

    run(main())


# --- too large --------------------------------------------------------------------------------------


def test_a_length_over_the_limit_is_refused_before_the_body() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            await client.send(
                b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (LIMIT_BYTES + 1)
            )
            reply = await client.reply()
            assert (reply.status, reply.closes) == (413, True)
            assert reply.json["error"]["type"] == "invalid_request_error"
            assert await client.ended() == b""
            assert service.seen == []

    run(main())


def test_exactly_the_limit_is_taken() -> None:
    async def main() -> None:
        async with echoing() as service:
            body = b"x" * LIMIT_BYTES
            for request in (post(body), chunked(body), chunked(body[:-1], b"x")):
                assert (await service.ask(request)).body == body
            for request in (post(body + b"x"), chunked(body + b"x"), chunked(body, b"x")):
                assert (await service.ask(request)).status == 413

    run(main())


def test_a_route_without_a_body_limit_takes_none() -> None:
    async def main() -> None:
        async with echoing() as service:
            for request in (
                b"GET /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx",
                b"GET /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            ):
                assert (await service.ask(request)).status == 413
            assert service.seen == []

    run(main())


TOO_MUCH = {
    "length": (b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n", b"x" * 70_000, 413),
    "chunks": (
        b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
        b"10000\r\n" + b"x" * 65_536 + b"\r\n",
        413,
    ),
    "what follows a bad head": (b"GET /echo HTTP/1.1\r\n\r\n", b"x" * 70_000, 400),
    "what follows a tunnel": (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", b"x" * 70_000, 404),
    "what follows garbage": (b"\x00", b"x" * 70_000, 400),
}


@pytest.mark.parametrize(("head", "piece", "status"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_the_refusal_reaches_a_client_that_is_still_sending(head: bytes, piece: bytes, status: int) -> None:
    """It sends everything before it reads, as libraries do; closing at once would reset the reply away."""

    async def main() -> None:
        async with echoing() as service:
            client = await service.connect(receive_bytes=10_000)
            await client.send(head, *[piece] * 1000)
            reply = await client.reply()
            assert (reply.status, reply.closes) == (status, True)
            assert await client.ended() == b""

    run(main())


def test_a_client_may_go_on_sending_for_a_while_but_not_for_ever() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            await client.send(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n")
            assert (await client.reply()).status == 413
            connection = service.connection
            start_s = service.server.now_s
            while not connection.transport.is_closing():
                connection.deadline_s = NEVER
                await client.send(b"x")
                await until(lambda: connection.deadline_s < NEVER)
                # Never quiet for as long as the shorter limit.
                let_pass(service, service.server.now_s - asyncio.get_running_loop().time() + 1.5)
            assert LINGER_MOST_S < service.server.now_s - start_s < LINGER_MOST_S + 3
            await until(lambda: not service.server.connections)

    run(main())


def test_a_small_refused_body_is_dropped_and_the_connection_kept() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            for size, closes in ((DISCARD_BYTES, False), (DISCARD_BYTES + 1, True)):
                await client.send(b"POST /none HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size)
                reply = await client.reply()
                assert (reply.status, reply.closes) == (404, closes)
                if not closes:
                    await client.send(b"x" * size)

    run(main())


def test_an_unread_body_of_unknown_length_ends_the_connection() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            await client.send(
                b"POST /none HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n"
            )
            reply = await client.reply()
            assert (reply.status, reply.closes) == (404, True)
            assert await client.ended() == b""

    run(main())


def test_a_head_over_the_limit() -> None:
    async def main() -> None:
        async with echoing(header_bytes=2000, header_count=10) as service:
            fine = b"x" * 1900
            for request, status in (
                (b"GET /echo HTTP/1.1\r\nhost: a\r\nx: " + fine + b"\r\n\r\n", 200),
                (b"GET /echo HTTP/1.1\r\nhost: a\r\nx: " + fine * 2 + b"\r\n\r\n", 431),
                (b"GET /echo HTTP/1.1\r\nhost: a\r\nx: " + fine * 1000 + b"\r\n\r\n", 431),
                (b"GET /echo?" + fine + b" HTTP/1.1\r\nhost: a\r\n\r\n", 200),
                (b"GET /echo?" + fine * 2 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 431),
                (b"GET /echo HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 9 + b"\r\n", 200),
                (b"GET /echo HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 10 + b"\r\n", 431),
                (b"GET /echo HTTP/1.1\r\nhost: a\r\n" + b"x:\r\n" * 300 + b"\r\n", 431),
            ):
                client = await service.connect()
                reply = await client.ask(request)
                assert (reply.status, reply.closes) == (status, status == 431), request[:60]
                if status == 431:
                    assert await client.ended() == b""

    run(main())


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /echo?",
        b"GET /echo HTTP/1.1\r\nhost: a\r\nx: ",
        b"GET /echo HTTP/1.1\r\nhost: a\r\n",
        b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: ",
        b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;",
    ],
    ids=["target", "value", "name", "trailer value", "trailer name", "chunk extension"],
)
def test_what_never_ends_is_ended_early(endless: bytes) -> None:
    """The parser keeps a value until it is complete: without a limit, that would be all our memory."""

    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            sending = asyncio.ensure_future(client.send(endless, *[b"x" * 100_000] * 1000))
            reply = await client.reply()
            assert (reply.status, reply.closes) == (431, True)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            assert service.seen == []

    run(main())


def test_a_large_body_does_not_count_for_the_next_head() -> None:
    async def main() -> None:
        async with echoing(header_bytes=1024) as service:
            client = await service.connect()
            (connection,) = await connections(service)
            for framed in (post(b"x" * 200_000), chunked(*[b"x" * 5000] * 40), chunked(*[b"x"] * 3000)):
                connection.data_received(framed + GET[:5])
                for octet in GET[5:]:
                    connection.data_received(bytes([octet]))
                assert (await client.reply()).status == 200
                assert (await client.reply()).status == 200

    run(main())


def test_small_chunks_may_take_long() -> None:
    """What is counted against the limit is what comes without any of the body."""

    async def main() -> None:
        async with echoing(header_bytes=1024) as service:
            client = await service.connect()
            (connection,) = await connections(service)
            connection.data_received(b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(2000):
                for piece in (b"1;a=b\r", b"\n", b"x", b"\r\n"):
                    connection.data_received(piece)
            connection.data_received(b"0\r\n\r\n")
            assert (await client.reply()).body == b"x" * 2000

    run(main())


# --- packed bodies ----------------------------------------------------------------------------------


def packed(body: bytes, coding: bytes = b"gzip") -> bytes:
    return post(body, b"content-encoding: " + coding)


def test_gzip_is_unpacked() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            noise = random.Random(2).randbytes(900_000)
            for body in (b"", b"hello", b"x" * LIMIT_BYTES, noise, b"a" * 500_000 + noise[:500_000]):
                for coding in (b"gzip", b"GZIP", b"gzip "):
                    reply = await client.ask(packed(gzip.compress(body), coding))
                    assert (reply.status, reply.body) == (200, body)
            reply = await client.ask(packed(b"plain", b"identity"))
            assert reply.body == b"plain"

    run(main())


GZIP = gzip.compress(b"hello, hello, hello")
BROKEN_GZIP = {
    "nothing": b"",
    "not gzip": b"hello",
    "magic alone": GZIP[:2],
    "head alone": GZIP[:10],
    "cut short": GZIP[:-9],
    "without its length": GZIP[:-1],
    "wrong checksum": GZIP[:-8] + bytes([GZIP[-8] ^ 1]) + GZIP[-7:],
    "wrong length": GZIP[:-1] + b"\x01",
    "something behind": GZIP + b"x",
    "a second one behind": GZIP + GZIP,
    "zlib": zlib.compress(b"hello"),
    "raw deflate": zlib.compress(b"hello")[2:-4],
}


@pytest.mark.parametrize("body", BROKEN_GZIP.values(), ids=BROKEN_GZIP)
def test_broken_gzip_is_refused(body: bytes) -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            reply = await client.ask(packed(body))
            assert reply.status == 400
            assert "gzip" in reply.json["error"]["message"]
            assert (await client.ask(GET)).status == 200

    run(main())


def test_something_long_behind_gzip_is_refused() -> None:
    async def main() -> None:
        async with echoing() as service:
            assert (await service.ask(packed(GZIP + b"\x00" * 500_000))).status == 400

    run(main())


@settings(max_examples=40)
@given(st.binary(max_size=400), st.data())
def test_damaged_gzip_never_passes_for_another_body(body: bytes, data: st.DataObject) -> None:
    whole = bytearray(gzip.compress(body, mtime=0))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))

    async def main() -> None:
        async with echoing() as service:
            reply = await service.ask(packed(bytes(whole)))
            # Some bits say nothing of the body: time and system in the head, padding behind a block.
            assert reply.status == 400 or (reply.status == 200 and reply.body == body)

    run(main())


def test_a_bomb_is_refused_and_never_kept() -> None:
    async def main() -> None:
        async with echoing() as service:
            bomb = packed(gzip.compress(b"\x00" * 200_000_000, 1))
            assert len(bomb) < LIMIT_BYTES
            client = await service.connect()
            tracemalloc.start()
            reply = await client.ask(bomb)
            _, peak_bytes = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert reply.status == 413
            assert peak_bytes < 8 * LIMIT_BYTES
            reply = await client.ask(packed(gzip.compress(b"x" * (LIMIT_BYTES + 1))))
            assert reply.status == 413

    run(main())


def test_unpacking_lets_others_be_served() -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.reply(200, PLAIN, b"%d" % len(await exchange.body()))

        async with answering(answer, limit_bytes=60_000_000) as service:
            large, other = await service.connect(), await service.connect()
            await other.ask(GET)
            slow = asyncio.ensure_future(large.ask(packed(gzip.compress(b"x" * 60_000_000, 1))))
            served = 0
            while not slow.done():
                await other.ask(GET)
                served += 1
            assert (await slow).body == b"60000000"
            assert served > 20

    run(main())


@pytest.mark.parametrize(
    "coding", [b"br", b"deflate", b"zstd", b"gzip, gzip", b"identity, gzip", b"compress", b""]
)
def test_other_packings_are_refused(coding: bytes) -> None:
    async def main() -> None:
        async with echoing() as service:
            assert (await service.ask(packed(b"abc", coding))).status == 415
            assert service.seen == []

    run(main())


# --- Expect -----------------------------------------------------------------------------------------

EXPECT = b"POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"


def test_continue_is_granted_when_the_body_is_wanted() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            for _ in range(2):
                await client.send(EXPECT % 3)
                assert (await client.reply()).status == 100
                reply = await client.ask(b"abc")
                assert (reply.status, reply.body, reply.closes) == (200, b"abc", False)

    run(main())


def test_continue_is_not_granted_to_a_body_that_is_here() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            reply = await client.ask(EXPECT % 3 + b"abc")
            assert (reply.status, reply.body) == (200, b"abc")

    run(main())


def test_continue_does_not_exist_in_http_1_0() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            await client.send((EXPECT % 3).replace(b"HTTP/1.1", b"HTTP/1.0"))
            await until(
                lambda: bool(service.server.connections) and service.connection._receiving is not None
            )
            for _ in range(5):
                await asyncio.sleep(0)
            reply = await client.ask(b"abc")
            assert (reply.status, reply.body) == (200, b"abc")

    run(main())


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (EXPECT % (LIMIT_BYTES + 1), 413),
        ((EXPECT % 3).replace(b"/echo", b"/none"), 404),
        ((EXPECT % 3).replace(b"100-continue", b"a miracle"), 417),
        ((EXPECT % 3).replace(b"host: a", b"host: a\r\ncontent-encoding: br"), 415),
    ],
)
def test_continue_refused_closes(head: bytes, status: int) -> None:
    """The client may send the body or not, so nobody can know where the next request begins."""

    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            await client.send(head)
            reply = await client.reply()
            assert (reply.status, reply.closes) == (status, True)
            await client.send(b"abc" + GET)
            assert await client.ended() == b""
            assert service.seen == []

    run(main())


def test_continue_refused_by_the_handler_closes() -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            raise BadRequest("not you")

        async with answering(answer) as service:
            client = await service.connect()
            await client.send(EXPECT % 3)
            reply = await client.reply()
            assert (reply.status, reply.closes) == (400, True)
            assert await client.ended() == b""

    run(main())


# --- replies ----------------------------------------------------------------------------------------


def test_head_is_get_without_the_body() -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            if exchange.query == b"stream":
                exchange.begin(200, PLAIN)
                exchange.write(b"one")
                exchange.finish(b"two")
            elif exchange.query == b"sized":
                exchange.begin(200, PLAIN, 6)
                exchange.write(b"one")
                exchange.finish(b"two")
            else:
                exchange.reply(200, PLAIN, b"whole")

        async with answering(answer) as service:
            client = await service.connect()
            for query, name, value in (
                (b"", b"content-length", b"5"),
                (b"?stream", b"transfer-encoding", b"chunked"),
                (b"?sized", b"content-length", b"6"),
            ):
                reply = await client.ask(b"HEAD /echo%b HTTP/1.1\r\nhost: a\r\n\r\n" % query, method=b"HEAD")
                assert (reply.status, reply.header(name)) == (200, value)
                reply = await client.ask(GET)
                assert reply.body == b"whole"

    run(main())


def test_head_of_what_is_not_there() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            reply = await client.ask(b"HEAD /none HTTP/1.1\r\nhost: a\r\n\r\n", method=b"HEAD")
            assert reply.status == 404
            assert int(reply.header(b"content-length") or 0) > 0
            assert (await client.ask(GET)).status == 200

    run(main())


@pytest.mark.parametrize("size", [0, 1, 262_143, 262_144, 5_000_000])
def test_whole_replies_of_any_size(size: int) -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.reply(200, PLAIN, b"x" * size)

        async with answering(answer) as service:
            client = await service.connect()
            for _ in range(2):
                reply = await client.ask(GET)
                assert reply.body == b"x" * size
                assert reply.header(b"content-length") == b"%d" % size

    run(main())


def test_pieces_become_chunks() -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.begin(200, EVENTS)
            exchange.write(b"")  # would end the body if it were sent
            exchange.write(b"one")
            exchange.write(b"two" * 10_000)
            exchange.finish()
            exchange.finish(b"never sent")

        async with answering(answer) as service:
            client = await service.connect()
            for _ in range(2):
                await client.send(GET)
                status, _ = await client.head()
                assert status == 200
                assert [chunk async for chunk in client.chunks()] == [b"one", b"two" * 10_000]

    run(main())


def test_statuses_without_a_body() -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.reply(int(exchange.query), b"", b"must not be sent")

        async with answering(answer) as service:
            client = await service.connect()
            for status in (204, 304):
                reply = await client.ask(b"GET /echo?%d HTTP/1.1\r\nhost: a\r\n\r\n" % status)
                assert reply.status == status
                assert reply.header(b"content-length") is None
            reply = await client.ask(b"GET /echo?299 HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (reply.status, reply.body) == (299, b"must not be sent")

    run(main())


def test_an_error_after_the_first_byte_is_the_last_event_of_a_stream() -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.begin(200, EVENTS)
            exchange.write(b"data: 1\n\n")
            raise UpstreamFailed("it broke")

        async with answering(answer) as service:
            client = await service.connect()
            for _ in range(2):
                reply = await client.ask(GET)
                first, last = reply.body.split(b"\n\n", 1)
                assert first == b"data: 1"
                assert last.startswith(b'data: {"error":{"message":"it broke"')
                assert last.endswith(b"\n\n")
                assert not reply.closes

    run(main())


@pytest.mark.parametrize("length", [None, 100])
@pytest.mark.parametrize("error", [UpstreamFailed("it broke"), RuntimeError("it broke")])
def test_an_error_after_the_first_byte_cuts_off_any_other_reply(length: int | None, error: Exception) -> None:
    """Else its text would be read as a part of the body, or what is cut short would look complete."""

    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.begin(200, b"content-type: application/json\r\n", length)
            exchange.write(b'{"a":')
            raise error

        async with answering(answer) as service:
            client = await service.connect()
            await client.send(GET + GET)
            await client.head()
            rest = await client.ended()
            assert rest == (b'5\r\n{"a":\r\n' if length is None else b'{"a":')
            assert len(service.seen) == 1

    run(main())


def test_a_handler_that_forgets_to_end_its_reply_ends_the_connection() -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.begin(200, PLAIN, 10)
            exchange.write(b"12345")

        async with answering(answer) as service:
            client = await service.connect()
            await client.send(GET + GET)
            await client.head()
            assert await client.ended() == b"12345"
            assert len(service.seen) == 1

    run(main())


# --- back-pressure ------------------------------------------------------------------------------------


class Spring:
    """An upstream that gives as much as it may: the source that a slow reader pauses."""

    def __init__(self) -> None:
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.pauses = 0
        self.resumes = 0

    def pause(self) -> None:
        self.flowing.clear()
        self.pauses += 1

    def resume(self) -> None:
        self.flowing.set()
        self.resumes += 1


TOTAL = 30_000_000
PIECE = b"x" * 10_000


def test_a_slow_reader_pauses_its_source_and_costs_little_memory() -> None:
    async def main() -> None:
        spring = Spring()
        peak = 0

        async def answer(exchange: Exchange) -> None:
            nonlocal peak
            exchange.begin(200, PLAIN)
            exchange.throttle(spring)
            for _ in range(TOTAL // len(PIECE)):
                await spring.flowing.wait()
                exchange.write(PIECE)
                peak = max(peak, service.connection.transport.get_write_buffer_size())
                await asyncio.sleep(0)
            exchange.finish()

        async with answering(answer) as service:
            client = await service.connect(receive_bytes=10_000)
            client.stop_reading()
            await client.send(GET)
            await until(lambda: spring.pauses > 0)
            client.read_on()
            await client.head()
            total = 0
            async for chunk in client.chunks():
                total += len(chunk)
            assert total == TOTAL
            assert spring.resumes > 0
            # One piece more than the limit is on its way when the pause comes.
            assert peak < WRITE_BUFFER_BYTES + 2 * len(PIECE)

    run(main())


def test_a_source_that_is_named_late_is_paused_at_once() -> None:
    async def main() -> None:
        spring = Spring()

        async def answer(exchange: Exchange) -> None:
            exchange.begin(200, PLAIN)
            exchange.write(b"x" * 20_000_000)
            exchange.throttle(spring)
            assert spring.pauses == 1
            await spring.flowing.wait()
            exchange.throttle(None)
            exchange.finish()

        async with answering(answer) as service:
            client = await service.connect()
            reply = await client.ask(GET)
            assert len(reply.body) == 20_000_000
            assert spring.resumes == 1

    run(main())


def test_drain_waits_for_the_reader() -> None:
    async def main() -> None:
        written = 0

        async def answer(exchange: Exchange) -> None:
            nonlocal written
            exchange.begin(200, PLAIN)
            while written < TOTAL:
                exchange.write(PIECE)
                written += len(PIECE)
                await exchange.drain()
            exchange.finish()

        async with answering(answer) as service:
            client = await service.connect(receive_bytes=10_000)
            client.stop_reading()
            await client.send(GET)
            await until(lambda: bool(service.server.connections) and service.connection.writing_paused)
            assert written < TOTAL // 2
            client.read_on()
            assert len((await client.reply()).body) == TOTAL

    run(main())


def test_a_client_that_hangs_up_while_it_does_not_read_is_seen() -> None:
    """Reading stays on while writing is paused."""

    async def main() -> None:
        cancelled: list[bool] = []

        async def answer(exchange: Exchange) -> None:
            exchange.begin(200, PLAIN)
            exchange.write(b"x" * 20_000_000)
            try:
                await exchange.drain()
            except asyncio.CancelledError:
                cancelled.append(exchange.gone)
                raise

        async with answering(answer) as service:
            client: Client = await service.connect(receive_bytes=10_000)
            client.stop_reading()
            await client.send(GET)
            await until(lambda: bool(service.server.connections) and service.connection.writing_paused)
            client.finish()
            await until(lambda: cancelled == [True])

    run(main())
