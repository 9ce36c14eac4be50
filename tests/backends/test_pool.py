"""Which connection carries a request, which may carry another, and that a closed pool leaves none."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from headgate.core.address import Address
from headgate.core.errors import ConnectFailed, ConnectionLost
from tests.backends.scripted import (
    CHUNKED,
    GET,
    OK,
    Line,
    answering,
    ask,
    pooled,
    post,
    scripted,
    until,
)
from tests.conftest import run

# --- reuse --------------------------------------------------------------------------------------------------


def test_one_connection_carries_many_requests() -> None:
    async def main() -> None:
        async with scripted(answering) as upstream, pooled(upstream.address) as pool:
            for _ in range(50):
                assert await ask(pool) == b"ok"
            assert [line.requests for line in upstream.lines] == [50]

    run(main())


def test_requests_at_once_take_connections_of_their_own() -> None:
    async def main() -> None:
        async with scripted(answering) as upstream, pooled(upstream.address) as pool:
            for _ in range(3):
                assert await asyncio.gather(*(ask(pool) for _ in range(10))) == [b"ok"] * 10
            assert len(upstream.lines) == 10

    run(main())


def test_the_last_used_connection_goes_first() -> None:
    async def main() -> None:
        async with scripted(answering) as upstream, pooled(upstream.address) as pool:
            first, second = await pool.send(GET, b""), await pool.send(GET, b"")
            second.close()
            first.close()
            for _ in range(5):
                await ask(pool)
            assert [line.requests for line in upstream.lines] == [6, 1]

    run(main())


def test_fresh_takes_no_idle_connection() -> None:
    async def main() -> None:
        async with scripted(answering) as upstream, pooled(upstream.address) as pool:
            await ask(pool)
            await ask(pool, fresh=True)
            assert [line.requests for line in upstream.lines] == [1, 1]

    run(main())


def test_no_more_idle_connections_are_kept_than_allowed() -> None:
    async def main() -> None:
        async with scripted(answering) as upstream, pooled(upstream.address, idle_connections=2) as pool:
            replies = [await pool.send(GET, b"") for _ in range(5)]
            for reply in replies:
                reply.close()
            await asyncio.gather(*(line.writer.wait_closed() for line in upstream.lines[2:]))
            for _ in range(4):
                await ask(pool)
            assert len(upstream.lines) == 5

    run(main())


def test_a_body_may_follow_its_head_in_any_size() -> None:
    async def main() -> None:
        seen: list[bytes] = []

        async def script(line: Line) -> None:
            while True:
                seen.append(hashlib.sha256(await line.request()).digest())
                await line.send(OK)

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            for size in (0, 1, 1000, 32 * 1024, 32 * 1024 + 1, 20_000_000):
                body = bytes(range(256)) * (size // 256 + 1)
                body = body[:size]
                reply = await pool.send(post(body), body)
                assert await reply.read(10) == b"ok"
                reply.close()
                assert seen.pop() == hashlib.sha256(post(body) + body).digest()
            assert len(upstream.lines) == 1

    run(main())


def test_an_answer_before_the_request_is_sent_whole() -> None:
    """The answer counts; the connection, with half a request in its way, does not."""

    async def script(line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        line.stop_reading()
        await line.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await asyncio.Event().wait()

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            body = b"x" * 60_000_000  # more than the kernel takes for a reader that does not read
            for used in (1, 2):
                reply = await pool.send(post(body), body)
                assert reply.status == 413
                assert await reply.read(10) == b"no"
                reply.close()
                assert len(upstream.lines) == used
                assert pool.open == 0

    run(main())


def test_what_was_read_stays_with_its_reply() -> None:
    """A connection's next reply must not show in the one before."""

    async def main() -> None:
        numbers = iter(range(10))

        async def script(line: Line) -> None:
            while True:
                await line.request()
                await line.send(
                    b"HTTP/1.1 200 OK\r\nx: %d\r\ncontent-length: 1\r\n\r\n%d" % ((next(numbers),) * 2)
                )

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            first = await pool.send(GET, b"")
            first.close()
            second = await pool.send(GET, b"")
            second.close()
            assert (first.header(b"x"), first.take()) == (b"0", b"0")
            assert (second.header(b"x"), second.take()) == (b"1", b"1")
            assert len(upstream.lines) == 1

    run(main())


# --- connections that die -----------------------------------------------------------------------------------


def test_an_idle_connection_that_is_closed_is_forgotten() -> None:
    async def main() -> None:
        closing = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            await line.send(OK)
            await closing.wait()

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            await ask(pool)
            assert (pool.idle, pool.open) == (1, 1)
            closing.set()
            await until(lambda: pool.open == 0)
            assert pool.idle == 0
            assert await ask(pool) == b"ok"
            assert len(upstream.lines) == 2

    run(main())


def test_a_connection_that_dies_as_the_request_comes_says_so() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(OK)
        await line.request()
        line.reset()

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            await ask(pool)
            with pytest.raises(ConnectionLost) as caught:
                await ask(pool)
            assert caught.value.reused
            assert not caught.value.answered
            assert await ask(pool, fresh=True) == b"ok"
            assert len(upstream.lines) == 2

    run(main())


def test_a_connection_closed_unseen_says_so() -> None:
    """The other side closes, and before the loop can look, the next request goes out."""

    async def main() -> None:
        async with scripted(answering) as upstream, pooled(upstream.address) as pool:
            await ask(pool)
            upstream.lines[0].shut_down()
            with pytest.raises(ConnectionLost) as caught:
                await ask(pool)
            assert caught.value.reused
            assert not caught.value.answered
            assert await ask(pool, fresh=True) == b"ok"

    run(main())


# --- closing the pool ---------------------------------------------------------------------------------------


def test_closing_a_pool_lets_its_replies_finish() -> None:
    async def main() -> None:
        more = asyncio.Event()
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            await line.send(CHUNKED)
            await more.wait()
            await line.send(b"2\r\nok\r\n0\r\n\r\n")
            await line.gone()
            gone.set()

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            reply = await pool.send(GET, b"")
            await pool.close()
            with pytest.raises(ConnectFailed):
                await pool.send(GET, b"")
            more.set()
            assert await reply.read(10) == b"ok"
            reply.close()
            await gone.wait()
            assert pool.open == 0

    run(main())


def test_closing_a_pool_closes_what_is_idle() -> None:
    async def main() -> None:
        async with scripted(answering) as upstream, pooled(upstream.address) as pool:
            await asyncio.gather(*(ask(pool) for _ in range(5)))
            await pool.close()
            assert (pool.idle, pool.open) == (0, 0)
            await upstream.ended()

    run(main())


def test_a_pool_shows_where_it_leads_and_no_more() -> None:
    async def main() -> None:
        async with pooled(Address("upstream", 80, prefix="/v1")) as pool:
            assert "upstream" in repr(pool)

    run(main())
