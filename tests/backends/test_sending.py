"""Long requests: whole and in order, no faster than the upstream reads, let go when nobody wants them."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.backends.sending import STEP_BYTES, Sending
from headgate.core.cut import Pieces
from headgate.core.errors import UpstreamTimeout
from tests.backends.scripted import OK, Line, pooled, post, scripted, until
from tests.conftest import run

BODY = random.Random(3).randbytes(5_000_000)


class Pipe:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.steps: list[bytes] = []

    def writelines(self, step: list[bytes | memoryview]) -> None:
        self.steps.append(b"".join(step))


def in_pieces(body: bytes, sizes: list[int]) -> Pieces:
    buffers: list[bytes] = []
    at = 0
    while at < len(body):
        size = sizes[len(buffers) % len(sizes)]
        buffers.append(body[at : at + size])
        at += size
    return Pieces(buffers)


@settings(max_examples=30)
@given(st.lists(st.integers(2_000, 900_000), min_size=1, max_size=5), st.lists(st.booleans(), max_size=30))
def test_steps_are_even_and_in_order_however_it_is_held(sizes: list[int], held: list[bool]) -> None:
    async def main() -> None:
        pipe = Pipe()
        body = in_pieces(BODY, [max(sizes), *sizes]) if len(sizes) > 1 else BODY
        sending = Sending(asyncio.get_running_loop(), cast(asyncio.Transport, pipe), b"head", body)
        for hold in held:
            before = len(pipe.steps)
            if hold:
                sending.hold()
            await asyncio.sleep(0)
            assert len(pipe.steps) <= before + (not hold)
            sending.go_on()
            sending.go_on()
            assert sending.left_bytes == 4 + len(BODY) - sum(map(len, pipe.steps))
        await until(lambda: sending.left_bytes == 0)
        assert b"".join(pipe.steps) == b"head" + BODY
        assert all(len(step) <= 2 * STEP_BYTES + 4 for step in pipe.steps)

    run(main())


def test_nothing_is_sent_after_it_was_stopped() -> None:
    async def main() -> None:
        pipe = Pipe()
        sending = Sending(asyncio.get_running_loop(), cast(asyncio.Transport, pipe), b"head", BODY)
        sending.stop()
        sending.go_on()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(pipe.steps) == 1
        assert sending.left_bytes == 0

    run(main())


@pytest.mark.parametrize("sizes", [[len(BODY)], [1000], [1, 40_000], [STEP_BYTES], [STEP_BYTES - 1, 2]])
def test_the_upstream_gets_every_byte_and_the_connection_is_kept(sizes: list[int]) -> None:
    digests: list[bytes] = []

    async def script(line: Line) -> None:
        while True:
            request = await line.request()
            digests.append(hashlib.sha256(request.partition(b"\r\n\r\n")[2]).digest())
            await line.send(OK)

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            for body in (in_pieces(BODY, sizes), BODY, b"short", in_pieces(BODY, sizes)):
                reply = await pool.send(post(cast(bytes, body)), body)
                assert await reply.read(10) == b"ok"
                reply.close()
            assert len(upstream.lines) == 1
        assert digests == [hashlib.sha256(body).digest() for body in (BODY, BODY, b"short", BODY)]

    run(main())


def test_a_connection_whose_request_was_answered_too_early_is_not_used_again() -> None:
    async def script(line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        line.stop_reading()
        await line.send(OK)
        await line.writer.wait_closed()

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            body = Pieces([bytes(STEP_BYTES)] * 200)
            reply = await pool.send(post(cast(bytes, body)), body)
            assert await reply.read(10) == b"ok"
            assert pool.open == 1
            reply.close()
            assert (pool.idle, pool.open) == (0, 0)

    run(main())


def test_an_upstream_that_stops_reading_is_given_up() -> None:
    async def script(line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        line.stop_reading()
        await line.writer.wait_closed()

    async def main() -> None:
        async with (
            scripted(script) as upstream,
            pooled(upstream.address, first_byte_timeout_ms=300) as pool,
        ):
            body = Pieces([bytes(STEP_BYTES)] * 200)
            with pytest.raises(UpstreamTimeout):
                await pool.send(post(cast(bytes, body)), body)
            assert pool.open == 0

    run(main())


def test_a_cancelled_request_is_let_go() -> None:
    begun = asyncio.Event()

    async def script(line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        begun.set()
        line.stop_reading()
        await line.writer.wait_closed()

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            body = Pieces([bytes(STEP_BYTES)] * 200)
            asking = asyncio.ensure_future(pool.send(post(cast(bytes, body)), body))
            await begun.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert pool.open == 0

    run(main())
