"""Readers: what they are handed, how they slow an upstream down, and that leaving hangs up at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headgate.backends.reply import WAITING_LIMIT_BYTES, Reply
from headgate.core.errors import ConnectionLost
from tests.backends.scripted import (
    CHUNKED,
    GET,
    OK,
    Line,
    answering,
    pooled,
    scripted,
)
from tests.conftest import run

# --- readers ------------------------------------------------------------------------------------------------


def test_pump_hands_on_each_read_as_one() -> None:
    async def main() -> None:
        more = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            await line.send(CHUNKED + b"1\r\na\r\n1\r\nb\r\n")
            await more.wait()
            more.clear()
            await line.send(b"1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n")
            await more.wait()
            await line.send(b"1\r\nf\r\n0\r\n\r\n")
            await line.gone()

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            reply = await pool.send(GET, b"")
            assert not reply.complete
            assert reply.take() == b"ab"
            got: list[tuple[bytes, bool]] = []

            def on_bytes(data: bytes) -> None:
                got.append((data, reply.complete))
                more.set()

            more.set()
            await reply.pump(on_bytes)
            assert got == [(b"cde", False), (b"f", True)]
            reply.close()
            assert pool.idle == 1

    run(main())


def test_pump_begins_with_what_was_not_taken() -> None:
    async def main() -> None:
        async with scripted(answering) as upstream, pooled(upstream.address) as pool:
            reply = await pool.send(GET, b"")
            got: list[bytes] = []
            await reply.pump(got.append)
            await reply.pump(got.append)
            assert got == [b"ok"]
            reply.close()

    run(main())


def test_a_paused_reply_gives_back_a_connection_that_reads() -> None:
    async def main() -> None:
        async with scripted(answering) as upstream, pooled(upstream.address) as pool:
            for _ in range(3):
                reply = await pool.send(GET, b"")
                reply.pause()
                assert reply.take() == b"ok"
                reply.close()
            assert [line.requests for line in upstream.lines] == [3]

    run(main())


class Refused(Exception):
    """What a reader raises."""


@pytest.mark.parametrize("later", [False, True], ids=["in hand", "from the socket"])
def test_what_a_reader_raises_ends_its_pump_and_the_connection(later: bool) -> None:
    async def main() -> None:
        taken = asyncio.Event()
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            await line.send(CHUNKED if later else CHUNKED + b"1\r\na\r\n")
            await taken.wait()
            await line.send(b"1\r\nb\r\n" * 10)
            await line.gone()
            gone.set()

        def refuse(data: bytes) -> None:
            calls.append(data)
            raise Refused

        calls: list[bytes] = []
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            reply = await pool.send(GET, b"")
            if later:
                taken.set()
            with pytest.raises(Refused):
                await reply.pump(refuse)
            taken.set()
            await gone.wait()
            assert len(calls) == 1
            assert pool.open == 0
            reply.close()

    run(main())


@pytest.mark.parametrize("raising", [False, True])
def test_a_reader_closes_its_reply_in_the_middle(raising: bool) -> None:
    async def main() -> None:
        more = asyncio.Event()
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            await line.send(CHUNKED)
            await more.wait()
            await line.send(b"1\r\na\r\n")
            await line.gone()
            gone.set()

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            reply = await pool.send(GET, b"")

            def on_bytes(_: bytes) -> None:
                reply.close()
                if raising:
                    raise Refused

            more.set()
            with pytest.raises(Refused if raising else ConnectionLost):
                await reply.pump(on_bytes)
            await gone.wait()

    run(main())


@pytest.mark.parametrize("raising", [False, True])
def test_a_reader_closes_its_reply_with_the_last_bytes(raising: bool) -> None:
    """The connection carries another request at that very moment, which must not feel the first one's end."""

    async def main() -> None:
        more = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            await line.send(CHUNKED)
            await more.wait()
            await line.send(b"1\r\na\r\n0\r\n\r\n")
            await answering(line)

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            reply = await pool.send(GET, b"")
            sending = pool.send(GET, b"")
            waiting: list[asyncio.Future[Reply]] = []

            def on_bytes(_: bytes) -> None:
                reply.close()
                # The first step of the next send, taken here and now: it has the connection, and writes.
                waiting.append(sending.send(None))
                if raising:
                    raise Refused

            more.set()
            try:
                await reply.pump(on_bytes)
            except Refused:
                assert raising
            reply.close()
            await asyncio.shield(waiting[0])
            with pytest.raises(StopIteration) as returned:
                sending.send(None)
            following = returned.value.value
            assert await following.read(10) == b"ok"
            following.close()
            assert [line.requests for line in upstream.lines] == [2]

    run(main())


def test_a_paused_reply_holds_no_more_than_it_may(tmp_path: Path) -> None:
    """64 MB wait at the upstream; a reader that does not read holds some hundred KiB of them."""
    size, block = 64_000_000, b"x" * 64_000

    async def main() -> None:
        sent = 0

        async def script(line: Line) -> None:
            nonlocal sent
            await line.request()
            await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            while sent < size:
                await line.send(block)
                sent += len(block)
            await line.gone()

        unix = str(tmp_path / "upstream.sock")
        async with scripted(script, unix) as upstream, pooled(upstream.address) as pool:
            reply = await pool.send(GET, b"")
            # Nobody pumps: reading stops by itself, and then the upstream cannot send on.
            before = -1
            while sent != before or not sent:
                before = sent
                await asyncio.sleep(0.1)
            assert reply._waiting_bytes <= 2 * WAITING_LIMIT_BYTES
            assert sent < 4_000_000
            # The reader comes, and pauses: the same again.
            got = 0

            def on_bytes(data: bytes) -> None:
                nonlocal got
                got += len(data)
                if got < size // 2:
                    return
                if not paused.is_set():
                    paused.set()
                    reply.pause()

            paused = asyncio.Event()
            pumping = asyncio.ensure_future(reply.pump(on_bytes))
            await paused.wait()
            held = got
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.1)
            assert got == held
            assert sent - got < 4_000_000
            reply.resume()
            await pumping
            assert got == size
            assert reply.complete
            reply.close()
            assert pool.idle == 1

    run(main())


# --- cancelling ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [b"", OK[:10]], ids=["no answer", "half a head"])
def test_cancelling_a_send_hangs_up(part: bytes) -> None:
    async def main() -> None:
        asked = asyncio.Event()
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            await line.send(part)
            asked.set()
            await line.gone()
            gone.set()

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            sending = asyncio.ensure_future(pool.send(GET, b""))
            await asked.wait()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await gone.wait()
            assert pool.open == 0

    run(main())


def test_cancelling_a_send_at_any_step_leaves_nothing() -> None:
    """Cancelled after so many turns of the loop, while it connects, waits, or has just been answered."""

    async def main() -> None:
        async with scripted(answering) as upstream, pooled(upstream.address) as pool:
            for fresh in (True, False):
                answered = 0
                turns = 0
                while answered < 3:
                    sending = asyncio.ensure_future(pool.send(GET, b"", fresh=fresh))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    sending.cancel()
                    try:
                        reply = await sending
                    except asyncio.CancelledError:
                        assert pool.open == pool.idle
                    else:
                        answered += 1
                        reply.close()
                    turns += 1
            await pool.close()
            await upstream.ended()

    run(main())


def test_cancelling_a_pump_hangs_up() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            await line.send(CHUNKED + b"2\r\nok\r\n")
            await line.gone()
            gone.set()

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            reply = await pool.send(GET, b"")
            arrived = asyncio.Event()
            pumping = asyncio.ensure_future(reply.pump(lambda _: arrived.set()))
            await arrived.wait()
            pumping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pumping
            await gone.wait()
            assert pool.open == 0
            reply.close()

    run(main())


def test_closing_an_unfinished_reply_hangs_up_and_ends_its_pump() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            await line.send(CHUNKED)
            await line.gone()
            gone.set()

        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            reply = await pool.send(GET, b"")
            pumping = asyncio.ensure_future(reply.pump(lambda _: None))
            await asyncio.sleep(0)
            reply.close()
            with pytest.raises(ConnectionLost):
                await pumping
            await gone.wait()

    run(main())
