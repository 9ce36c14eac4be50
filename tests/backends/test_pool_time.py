"""How long an upstream may be quiet, before and in its answer, and how long a connection lies idle."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headgate.backends.pool import Pool
from headgate.core.errors import UpstreamTimeout
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
    silent,
    until,
)
from tests.conftest import run


def test_no_answer_in_time() -> None:
    async def main() -> None:
        async with scripted(silent) as upstream, pooled(upstream.address, first_byte_timeout_ms=50) as pool:
            with pytest.raises(UpstreamTimeout) as caught:
                await pool.send(GET, b"")
            assert caught.value.phase == "first byte"
            await upstream.ended()
            assert pool.open == 0

    run(main())


@pytest.mark.parametrize(
    "part", [OK[:10], CHUNKED, CHUNKED + b"2\r\nok\r\n"], ids=["head", "body", "more body"]
)
def test_an_answer_that_stops(part: bytes) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(part)
        await line.gone()

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address, idle_timeout_ms=50) as pool:
            with pytest.raises(UpstreamTimeout) as caught:
                await ask(pool)
            assert caught.value.phase == "idle"
            assert pool.open == 0

    run(main())


def test_an_answer_that_stops_before_anybody_pumps() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(CHUNKED + b"2\r\nok\r\n")
        await line.gone()

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address, idle_timeout_ms=50) as pool:
            reply = await pool.send(GET, b"")
            await until(lambda: pool.open == 0)
            got: list[bytes] = []
            with pytest.raises(UpstreamTimeout):
                await reply.pump(got.append)
            assert got == [b"ok"]

    run(main())


def test_bytes_now_and_then_are_no_silence() -> None:
    async def main() -> None:
        ticks = 0

        async def script(line: Line) -> None:
            nonlocal ticks
            await line.request()
            await line.send(CHUNKED)
            for _ in range(20):
                await asyncio.sleep(0.05)
                await line.send(b"1\r\n.\r\n")
                ticks += 1
            await line.send(b"0\r\n\r\n")
            await line.gone()

        async with scripted(script) as upstream, pooled(upstream.address, idle_timeout_ms=800) as pool:
            assert await ask(pool) == b"." * 20
            assert ticks == 20

    run(main())


def test_a_head_without_end_is_given_up_though_it_is_never_silent() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(b"HTTP/1.1 200 OK\r\nx: ")
        while True:
            await line.send(b"x")
            await asyncio.sleep(0.01)

    async def main() -> None:
        async with (
            scripted(script) as upstream,
            pooled(upstream.address, first_byte_timeout_ms=100, idle_timeout_ms=60_000) as pool,
        ):
            with pytest.raises(UpstreamTimeout) as caught:
                await pool.send(GET, b"")
            assert caught.value.phase == "first byte"
            await upstream.ended()
            assert pool.open == 0

    run(main())


def test_a_reader_that_paused_is_not_timed() -> None:
    async def main() -> None:
        async def script(line: Line) -> None:
            await line.request()
            await line.send(CHUNKED + b"2\r\nok\r\n")
            await line.gone()

        async with scripted(script) as upstream, pooled(upstream.address, idle_timeout_ms=20) as pool:
            paused = await pool.send(GET, b"")
            paused.pause()
            # Another one that is given up shows that the limit has long passed.
            with pytest.raises(UpstreamTimeout):
                await ask(pool)
            with pytest.raises(UpstreamTimeout):
                await ask(pool)
            assert pool.open == 1
            paused.resume()
            with pytest.raises(UpstreamTimeout):
                await paused.read(1000)

    run(main())


def test_a_long_request_on_its_way_is_no_silence(tmp_path: Path) -> None:
    """The other side reads slowly, for much longer than the limit, and then answers."""

    async def main() -> None:
        rounds = 0

        async def script(line: Line) -> None:
            nonlocal rounds
            await line.reader.readuntil(b"\r\n\r\n")
            left = len(body)
            while left:
                left -= len(await line.reader.read(20_000))
                rounds += 1
                await asyncio.sleep(0.005)
            await line.send(OK)

        body = b"x" * 6_000_000
        unix = str(tmp_path / "upstream.sock")  # a Unix socket's buffers are small
        async with (
            scripted(script, unix) as upstream,
            pooled(upstream.address, first_byte_timeout_ms=500) as pool,
        ):
            reply = await pool.send(post(body), body)
            assert reply.status == 200
            reply.close()
            assert rounds * 5 >= 3 * 500

    run(main())


def test_idle_connections_expire() -> None:
    async def main() -> None:
        async with scripted(answering) as upstream, pooled(upstream.address, keep_alive_ms=50) as pool:
            await ask(pool)
            assert pool.idle == 1
            await until(lambda: pool.idle == 0)
            assert pool.open == 0
            await upstream.ended()

    run(main())


def ticking(pool: Pool) -> bool:
    """Whether the pool's clock runs."""
    return pool._clock is not None


def test_the_clock_stands_still_while_nothing_is_open() -> None:
    async def main() -> None:
        async with scripted(answering) as upstream, pooled(upstream.address, keep_alive_ms=20) as pool:
            for _ in range(2):
                assert not ticking(pool)
                await ask(pool)
                assert ticking(pool)
                await until(lambda: not ticking(pool))
                assert pool.open == 0

    run(main())
