"""Bodies taken in parts: together they are the body, and each is about as long as was asked for."""

from __future__ import annotations

import asyncio
import gzip
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.errors import BadRequest
from headgate.edge.exchange import Exchange
from headgate.edge.inflate import Inflater
from headgate.edge.limits import FULL_BYTES, INFLATE_STEP_BYTES
from tests.conftest import run
from tests.edge.serving import GET, Service, answering, chunked, post

PLAIN = b"content-type: text/plain\r\n"
NOISE = random.Random(4).randbytes(3_000_000)
LIMIT_BYTES = 4_000_000
READ_BYTES = 262_144
"""The most that one read brings."""


class Taker:
    """A handler that takes bodies in parts, and answers with what it got."""

    def __init__(self, enough_bytes: int) -> None:
        self.enough_bytes = enough_bytes
        self.parts: list[bytes] = []

    async def __call__(self, exchange: Exchange) -> None:
        self.parts = []
        while part := await exchange.body(self.enough_bytes):
            self.parts.append(part)
        assert await exchange.body(self.enough_bytes) == b""
        exchange.reply(200, PLAIN, b"".join(self.parts))


def framed(body: bytes, how: str) -> bytes:
    if how == "gzip":
        return post(gzip.compress(body, 1), b"content-encoding: gzip")
    if how == "chunks":
        pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
        return chunked(*pieces)
    return post(body)


@pytest.mark.parametrize("how", ["length", "chunks", "gzip"])
@pytest.mark.parametrize("enough_bytes", [1, 1000, 131_072, 524_288, 10_000_000])
def test_parts_are_the_body(how: str, enough_bytes: int) -> None:
    async def main() -> None:
        taker = Taker(enough_bytes)
        async with answering(taker, limit_bytes=LIMIT_BYTES) as service:
            client = await service.connect()
            for size in (0, 1, 999, len(NOISE)):
                reply = await client.ask(framed(NOISE[:size], how))
                assert (reply.status, reply.body) == (200, NOISE[:size])
                assert all(len(part) > enough_bytes for part in taker.parts[:-1])
                assert all(len(part) <= enough_bytes + READ_BYTES for part in taker.parts)

    run(main())


@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 3000), min_size=1, max_size=12),
    st.integers(0, 5000),
    st.sampled_from(["length", "gzip"]),
)
def test_parts_are_the_body_however_it_arrives(sizes: list[int], enough_bytes: int, how: str) -> None:
    request = framed(NOISE[: sum(sizes)], how)

    async def main() -> None:
        async with answering(Taker(enough_bytes), limit_bytes=LIMIT_BYTES) as service:
            client = await service.connect()
            at = 0
            for size in sizes:
                await client.send(request[at : at + size])
                await asyncio.sleep(0)
                at += size
            reply = await client.ask(request[at:])
            assert (reply.status, reply.body) == (200, NOISE[: sum(sizes)])

    run(main())


async def _refused(service: Service, *pieces: bytes) -> int:
    client = await service.connect()
    await client.send(*pieces)
    return (await client.reply()).status


@pytest.mark.parametrize("how", ["chunks", "gzip"])
def test_one_that_turns_out_too_large_is_refused_on_the_way(how: str) -> None:
    async def main() -> None:
        async with answering(Taker(1000), limit_bytes=2_000_000) as service:
            assert await _refused(service, framed(NOISE, how)) == 413

    run(main())


def test_gzip_that_breaks_on_the_way_is_refused() -> None:
    packed = bytearray(gzip.compress(NOISE, 1))
    packed[-6] ^= 1

    async def main() -> None:
        async with answering(Taker(1000), limit_bytes=LIMIT_BYTES) as service:
            for broken in (bytes(packed), gzip.compress(NOISE, 1)[:-9], gzip.compress(NOISE, 1) + b"x"):
                assert await _refused(service, post(broken, b"content-encoding: gzip")) == 400
            assert (await service.ask(GET)).status == 200

    run(main())


def test_one_hundred_is_said_once() -> None:
    async def main() -> None:
        async with answering(Taker(1000), limit_bytes=LIMIT_BYTES) as service:
            client = await service.connect()
            head, _, body = post(NOISE, b"expect: 100-continue").partition(b"\r\n\r\n")
            await client.send(head + b"\r\n\r\n")
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            reply = await client.ask(body)
            assert (reply.status, reply.body) == (200, NOISE)

    run(main())


def test_pipelined_requests_behind_a_long_body_wait_in_line() -> None:
    async def main() -> None:
        async with answering(Taker(1000), limit_bytes=LIMIT_BYTES) as service:
            client = await service.connect()
            # In one write: a full read ends in the midst of them, where reading pauses for a turn.
            await client.send(post(NOISE) + post(b"small") * (FULL_BYTES // 40))
            assert (await client.reply()).body == NOISE
            for _ in range(FULL_BYTES // 40):
                assert (await client.reply()).body == b"small"

    run(main())


# --- the inflater -------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.binary(max_size=2000), st.integers(0, 400), st.integers(1, 70_000))
def test_steps_are_bounded_and_whole(body: bytes, repeats: int, size: int) -> None:
    whole = body + b"abc" * (repeats * 1000)
    packed = gzip.compress(whole, 1)
    inflater = Inflater(len(whole))
    out = []
    for at in range(0, len(packed), size):
        inflater.feed(packed[at : at + size])
        while step := inflater.step():
            assert len(step) <= INFLATE_STEP_BYTES
            out.append(step)
    inflater.finish()
    assert b"".join(out) == whole
    with pytest.raises(BadRequest):
        inflater.feed(b"x")
