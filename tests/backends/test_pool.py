"""Which connection carries a request, how long one may be quiet, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from headgate.backends.pool import Pool
from headgate.backends.reply import WAITING_LIMIT_BYTES, Reply
from headgate.core.address import Address
from headgate.core.errors import ConnectFailed, ConnectionLost, UpstreamTimeout
from tests.backends.scripted import GET, OK, Line, pooled, post, scripted, until
from tests.conftest import run

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def answering(line: Line) -> None:
    """Answers every request."""
    while True:
        await line.request()
        await line.send(OK)


async def silent(line: Line) -> None:
    """Never answers."""
    await line.gone()


async def ask(pool: Pool, *, fresh: bool = False) -> bytes:
    """One whole exchange."""
    reply = await pool.send(GET, b"", fresh=fresh)
    try:
        return await reply.read(1000)
    finally:
        reply.close()


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


# --- quiet ones ---------------------------------------------------------------------------------------------


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
