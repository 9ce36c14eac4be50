"""Framing: what is one reply, where it ends, and when a connection may carry another request."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headgate.backends.connection import HEAD_LIMIT_BYTES, HEADER_LIMIT, Connection
from headgate.backends.reply import Reply
from headgate.core.errors import ConnectionLost, UpstreamError, UpstreamGarbage
from tests.backends.scripted import CHUNKED, GET, OK, Line, ask, pooled, post, scripted
from tests.conftest import run

# --- over a socket: each reply, whole and one byte at a time -----------------------------------------------

COMPLETE: dict[str, tuple[bytes, int, bytes, bool]] = {
    # name: bytes, status, body, may the connection carry another request
    "length": (OK, 200, b"ok", True),
    "no body": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b"", True),
    "error status": (b"HTTP/1.1 429 Too Many\r\ncontent-length: 2\r\n\r\nno", 429, b"no", True),
    "no reason": (b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok", 200, b"ok", True),
    "redirect": (b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", 302, b"", True),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", 304, b"", True),
    "chunks": (CHUNKED + b"2\r\nok\r\n5\r\n, all\r\n0\r\n\r\n", 200, b"ok, all", True),
    "chunk with extension": (CHUNKED + b"2;a=b\r\nok\r\n0\r\n\r\n", 200, b"ok", True),
    "100 before it": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok", True),
    "103 and 102 before it": (
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK,
        200,
        b"ok",
        True,
    ),
    "asked to close": (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 2\r\n\r\nok",
        200,
        b"ok",
        False,
    ),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, b"ok", False),
    "HTTP/1.0 keep-alive": (
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
        200,
        b"ok",
        True,
    ),
    "upgrade is only offered": (
        b"HTTP/1.1 200 OK\r\nupgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nok",
        200,
        b"ok",
        True,
    ),
    "HTML": (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>", 200, b"<html>", True),
}


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("dripping", [False, True], ids=["at once", "byte by byte"])
def test_a_complete_reply(name: str, dripping: bool) -> None:
    data, status, body, reusable = COMPLETE[name]

    async def script(line: Line) -> None:
        for _ in range(2):
            await line.request()
            await line.send(*([data[i : i + 1] for i in range(len(data))] if dripping else [data]))
        await line.gone()

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            for _ in range(2):
                reply = await pool.send(GET, b"")
                assert reply.status == status
                assert await reply.read(1000) == body
                assert reply.complete
                reply.close()
            # A terminator that came in pieces is not worth telling apart from bytes too many.
            assert len(upstream.lines) == (1 if reusable else 2) or dripping

    run(main())


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    ],
)
def test_a_body_that_ends_with_the_connection(data: bytes) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(data[:-4], data[-4:])
        line.close()

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            for _ in range(2):
                reply = await pool.send(GET, b"")
                assert await reply.read(1000) == b"until the end"
                assert reply.complete
                reply.close()
            assert len(upstream.lines) == 2

    run(main())


def test_a_body_that_ends_with_a_broken_connection_is_cut() -> None:
    async def main() -> None:
        breaking = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            await line.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the")
            await breaking.wait()
            line.reset()

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            reply = await pool.send(GET, b"")
            breaking.set()
            with pytest.raises(ConnectionLost) as caught:
                await reply.read(1000)
            assert caught.value.answered
            assert not reply.complete

    run(main())


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_a_reply_to_head_has_no_body(head: bytes) -> None:
    async def script(line: Line) -> None:
        for _ in range(2):
            await line.request()
            await line.send(head)
            await line.request()
            await line.send(OK)
        await line.gone()

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            for _ in range(2):
                reply = await pool.send(b"HEAD / HTTP/1.1\r\nhost: upstream\r\n\r\n", b"")
                assert (reply.status, reply.complete, reply.take()) == (200, True, b"")
                assert len(reply.headers) == 1
                reply.close()
                reply = await pool.send(GET, b"")
                assert await reply.read(10) == b"ok"
                reply.close()
            assert len(upstream.lines) == 1

    run(main())


@pytest.mark.parametrize("rest", [b"ok", b"\r\n", OK])
def test_a_body_after_a_reply_to_head_is_never_read(rest: bytes) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + rest)
        await line.gone()

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            for used in (1, 2):
                reply = await pool.send(b"HEAD / HTTP/1.1\r\nhost: upstream\r\n\r\n", b"")
                assert (reply.status, reply.complete, reply.take()) == (200, True, b"")
                reply.close()
                assert len(upstream.lines) == used

    run(main())


AFTER: dict[str, bytes] = {
    "an empty line": b"\r\n",
    "half a line's end": b"\r",
    "junk": b"junk",
    "the start of a reply": b"H",
    "half a reply": OK[:20],
    "a second reply": OK,
    "a second reply of another kind": CHUNKED + b"0\r\n\r\n",
    "a zero byte": b"\x00",
}


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize(
    "first",
    [OK, CHUNKED + b"2\r\nok\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nokH"],
    ids=["length", "chunks", "length, like what follows"],
)
def test_bytes_after_a_reply_never_reach_the_next_request(first: bytes, after: str) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(first + AFTER[after])
        await line.gone()

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            for used in (1, 2):
                reply = await pool.send(GET, b"")
                assert (await reply.read(10)).startswith(b"ok")
                reply.close()
                assert len(upstream.lines) == used

    run(main())


@pytest.mark.parametrize("after", [b"\r", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"])
@pytest.mark.parametrize("closed_first", [True, False], ids=["idle", "reply still open"])
def test_bytes_that_nobody_asked_for_close_the_connection(after: bytes, closed_first: bool) -> None:
    async def main() -> None:
        more = asyncio.Event()
        ended = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            await line.send(OK)
            await more.wait()
            await line.send(after)
            await line.gone()
            ended.set()

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            reply = await pool.send(GET, b"")
            if closed_first:
                reply.close()
            more.set()
            await ended.wait()
            assert reply.complete
            assert reply.take() == b"ok"
            reply.close()
            reply = await pool.send(GET, b"")
            assert await reply.read(10) == b"ok"
            reply.close()
            assert len(upstream.lines) == 2

    run(main())


# --- what is no reply ---------------------------------------------------------------------------------------

NOT_A_HEAD: dict[str, bytes] = {
    "junk": b"\x15\x03\x01\x00\x02\x02\x28",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a request": b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "HTTP/0.9 body": b"hello",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "empty line first": b"\r\n" + OK,
    "empty line between": b"HTTP/1.1 100 Continue\r\n\r\n\r\n" + OK,
    "interim with a body": b"HTTP/1.1 199 Odd\r\ncontent-length: 2\r\n\r\nok" + OK,
    "interim with a body like a reply": b"HTTP/1.1 199 Odd\r\ncontent-length: 8\r\n\r\nH: 1\r\n\r\n" + OK,
    "interim with a body and no more": b"HTTP/1.1 199 Odd\r\ncontent-length: 8\r\n\r\nHTTP",
    "switching protocols": b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    "folded line": b"HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 2\r\n\r\nok",
    "bare LF": b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
    "bare CR in a value": b"HTTP/1.1 200 OK\r\na: b\rcontent-length: 2\r\n\r\nok",
    "zero in a value": b"HTTP/1.1 200 OK\r\na: b\x00\r\ncontent-length: 2\r\n\r\nok",
    "space before the colon": b"HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok",
    "both lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
    "negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
    "huge length": b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nok",
    "too long": b"HTTP/1.1 200 OK\r\na: " + b"b" * HEAD_LIMIT_BYTES + b"\r\ncontent-length: 2\r\n\r\nok",
    "a megabyte": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 180_000,
    "interims without end": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3000,
    "too many lines": b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * (HEADER_LIMIT + 1) + b"content-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", NOT_A_HEAD)
def test_what_is_no_head(name: str) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            try:
                await line.send(NOT_A_HEAD[name])
                await line.gone()
            except ConnectionError:
                pass
            ended.set()

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            with pytest.raises(UpstreamGarbage, match=r"^head: "):
                await pool.send(GET, b"")
            await ended.wait()

    run(main())


def test_as_many_header_lines_as_are_allowed() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(
            b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * (HEADER_LIMIT - 1) + b"content-length: 2\r\n\r\nok"
        )
        await line.gone()

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            reply = await pool.send(GET, b"")
            assert len(reply.headers) == HEADER_LIMIT
            reply.close()

    run(main())


NOT_A_BODY: dict[str, bytes] = {
    "chunk size is no number": b"zz\r\nok\r\n",
    "chunk size is huge": b"fffffffffffffffff\r\n",
    "chunk longer than it says": b"2\r\nokay\r\n",
    "bare LF after the size": b"2\nok\r\n0\r\n\r\n",
    "junk after the last chunk": b"0\r\njunk\x00\r\n\r\n",
}


@pytest.mark.parametrize("name", NOT_A_BODY)
@pytest.mark.parametrize("together", [True, False], ids=["with the head", "later"])
def test_what_is_no_body(name: str, together: bool) -> None:
    """Good bytes before the bad ones still come; then the pump says what happened."""

    async def main() -> None:
        later = asyncio.Event()
        ended = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            if together:
                await line.send(CHUNKED + b"4\r\ngood\r\n" + NOT_A_BODY[name])
            else:
                await line.send(CHUNKED + b"4\r\ngood\r\n")
                await later.wait()
                await line.send(NOT_A_BODY[name])
            await line.gone()
            ended.set()

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            reply = await pool.send(GET, b"")
            later.set()
            got: list[bytes] = []
            with pytest.raises(UpstreamGarbage):
                await reply.pump(got.append)
            assert b"".join(got).startswith(b"good")
            assert not reply.complete
            await ended.wait()

    run(main())


@pytest.mark.parametrize("sent", [0, 1, 10, len(OK) - 3, len(OK) - 1])
def test_replies_that_are_cut(sent: int) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(OK[:sent])

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            with pytest.raises(ConnectionLost) as caught:
                await ask(pool)
            assert caught.value.answered == (sent > 0)
            assert not caught.value.reused

    run(main())


def test_a_connection_that_is_reset_before_the_answer() -> None:
    async def script(line: Line) -> None:
        await line.request()
        line.reset()

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            with pytest.raises(ConnectionLost) as caught:
                await ask(pool)
            assert not caught.value.answered

    run(main())


# --- cut anywhere: the protocol driven directly, so that each cut really is one read ------------------------


class FakeTransport:
    """Stands where a socket would; records whether it was closed."""

    def __init__(self) -> None:
        self.sent = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None:
        self.aborted = True


class FakePool:
    """Records what a connection tells its pool."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def keep(self, connection: Connection) -> None:
        self.told.append("keep")

    def forget(self, connection: Connection) -> None:
        self.told.append("forget")


async def exchange(reads: list[bytes]) -> tuple[Any, ...]:
    """Status, headers, body and outcome of one request answered by these reads and then EOF."""
    pool = FakePool()
    transport = FakeTransport()
    connection = Connection(pool, asyncio.get_running_loop(), 60_000)
    connection.connection_made(cast("asyncio.Transport", transport))
    got: list[bytes] = []
    waiter = connection.ask(post(b""), b"")
    pumping: asyncio.Task[None] | None = None
    reply: Reply | None = None
    for read in reads:
        if connection.closed:
            break
        connection.data_received(read)
        if reply is None and waiter.done() and waiter.exception() is None:
            reply = waiter.result()
            pumping = asyncio.ensure_future(reply.pump(got.append))
        await asyncio.sleep(0)
    if not connection.closed and not (reply and reply.complete):
        connection.eof_received()
    try:
        if pumping is None:
            await waiter
            raise AssertionError("a reply that nobody saw")
        await pumping
    except UpstreamError as error:
        outcome: str = type(error).__name__
    else:
        outcome = "complete"
    if reply is None:
        assert transport.aborted
        assert pool.told == ["forget"]
        return (outcome,)
    reply.close()
    reply.close()
    assert pool.told in (["keep"], ["forget"])
    assert transport.aborted == (pool.told == ["forget"])
    return reply.status, reply.headers, b"".join(got), outcome


BODIES = st.binary(max_size=60)
GOOD = st.one_of(
    BODIES.map(lambda body: b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)),
    st.lists(BODIES.filter(bool), max_size=4).map(
        lambda parts: CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
    ),
    BODIES.map(lambda body: b"HTTP/1.1 200 OK\r\n\r\n" + body),
    st.just(b"HTTP/1.1 100 Continue\r\n\r\n" + OK),
    st.just(b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n"),
)
BAD = st.sampled_from([NOT_A_HEAD[name] for name in NOT_A_HEAD if len(NOT_A_HEAD[name]) < 300])


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The bytes in pieces, cut at these places."""
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(marks)]


@settings(max_examples=300, deadline=None)
@given(
    data=st.one_of(GOOD, GOOD.flatmap(lambda d: st.integers(0, len(d)).map(lambda n: d[:n])), BAD),
    places=st.lists(st.integers(0, 5000), max_size=12),
)
@example(data=CHUNKED + b"2\r\nok\r\n0\r\n\r\n", places=list(range(80)))
@example(data=OK, places=list(range(60)))
def test_any_cut_gives_the_same_reply(data: bytes, places: list[int]) -> None:
    async def main() -> None:
        assert await exchange(cut(data, places)) == await exchange([data] if data else [])

    run(main())


@settings(max_examples=300, deadline=None)
@given(GOOD, st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=3)), min_size=1, max_size=4))
def test_a_mutated_reply_ends_in_a_reply_or_an_error(data: bytes, changes: list[tuple[int, bytes]]) -> None:
    for place, replacement in changes:
        at = place % (len(data) + 1)
        data = data[:at] + replacement + data[at + 1 :]
    run(exchange([data] if data else []))


# --- how long a connection may lie idle ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "ticks"),
    [
        (b"", 60),
        (b"keep-alive: timeout=5, max=100\r\n", 4),
        (b"Keep-Alive: max=100, timeout = 5\r\n", 4),
        (b"keep-alive: timeout=1\r\n", 1),
        (b"keep-alive: timeout=0\r\n", 1),
        (b"keep-alive: timeout=600\r\n", 60),
        (b"keep-alive: max=5\r\n", 60),
        (b"keep-alive: timeout=soon\r\n", 60),
    ],
)
def test_an_idle_connection_is_closed_before_its_upstream_does(said: bytes, ticks: int) -> None:
    async def main() -> None:
        pool = FakePool()
        transport = FakeTransport()
        connection = Connection(pool, asyncio.get_running_loop(), 60_000)
        connection.connection_made(cast("asyncio.Transport", transport))
        waiter = connection.ask(GET, b"")
        connection.data_received(b"HTTP/1.1 200 OK\r\n" + said + b"content-length: 2\r\n\r\nok")
        waiter.result().close()
        assert pool.told == ["keep"]
        ticked = 0
        while not transport.aborted:
            connection.tick(1000, 1, 1)
            ticked += 1
        assert ticked == ticks
        assert pool.told == ["keep", "forget"]

    run(main())


def test_after_a_pause_the_time_begins_anew() -> None:
    async def main() -> None:
        transport = FakeTransport()
        connection = Connection(FakePool(), asyncio.get_running_loop(), 60_000)
        connection.connection_made(cast("asyncio.Transport", transport))
        waiter = connection.ask(GET, b"")
        connection.data_received(CHUNKED)
        reply = waiter.result()
        for paused in (False, True):
            if paused:
                reply.pause()
            for _ in range(5):
                connection.tick(1000, 5000, 5000)
        reply.resume()
        for _ in range(5):
            connection.tick(1000, 5000, 5000)
        assert not transport.aborted
        connection.tick(1000, 5000, 5000)
        assert transport.aborted

    run(main())
