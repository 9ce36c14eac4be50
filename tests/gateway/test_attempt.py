"""One try at an upstream: dead connections, refusals, timeouts, and the journal's records around each."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from headgate.core.errors import StoreError, StoreFull
from headgate.core.ports import Outcome
from headgate.core.usage import UNKNOWN_USAGE, Source
from headgate.gateway.attempt import ERROR_BODY_BYTES
from tests.backends.scripted import Line
from tests.conftest import run
from tests.gateway.house import (
    DONE,
    LAST,
    SEGMENT_BYTES,
    STREAM,
    UPSTREAM_KEY,
    House,
    answer,
    chunk,
    event,
    finished,
    house,
    said,
    usage,
    whole,
)
from tests.store.records import fill, sound


def sending(*pieces: bytes) -> Callable[[Line], Awaitable[None]]:
    async def script(line: Line) -> None:
        while True:
            await line.request()
            await line.send(*pieces)

    return script


# --- connections found dead -------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_request_that_meets_a_dead_connection_is_sent_once_more(
    tmp_path: Path, stream: bool, how: str
) -> None:
    reply = [whole(answer())]
    if stream:
        reply = [STREAM, chunk(said("Hi") + finished() + usage(1, 2) + DONE), LAST]
    lines: list[Line] = []
    unanswered: list[bytes] = []

    async def script(line: Line) -> None:
        lines.append(line)
        await line.request()
        await line.send(*reply)
        if line is not lines[0]:
            await line.gone()
            return
        # The second request is read and never answered: nobody knows what became of it.
        unanswered.append(await line.request())
        if how == "reset":
            line.reset()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask(stream)
            assert (await client.answer()).status == 200
            await client.ask(stream)
            found = await client.answer()
            assert found.status == 200
            assert (len(lines), len(unanswered)) == (2, 1)
            ends = await gate.settled(3)
            assert [closed.outcome for closed in ends] == [Outcome.OK, Outcome.UNKNOWN, Outcome.OK]
            assert (ends[1].status, ends[1].usage) == (0, UNKNOWN_USAGE)
            _, (first, _), (second, _) = gate.records()
            assert first.request_id == second.request_id == found.headers["x-request-id"]
            assert first.attempt < second.attempt

    run(main())


def test_a_fresh_connection_that_dies_is_not_tried_again(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.request()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            found = await gate.call()
            assert found.status == 502
            assert len(gate.upstream.lines) == 1
            [closed] = await gate.settled()
            assert (closed.outcome, closed.status, closed.usage) == (Outcome.FAILED, 0, UNKNOWN_USAGE)

    run(main())


def test_a_request_is_sent_at_most_twice(tmp_path: Path) -> None:
    lines: list[Line] = []

    async def script(line: Line) -> None:
        lines.append(line)
        await line.request()
        if line is lines[0]:
            await line.send(whole(answer()))
            await line.request()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask()
            assert (await client.answer()).status == 200
            await client.ask()
            assert (await client.answer()).status == 502
            assert len(lines) == 2
            ends = await gate.settled(3)
            assert [closed.outcome for closed in ends] == [Outcome.OK, Outcome.UNKNOWN, Outcome.FAILED]

    run(main())


def test_half_a_head_is_an_answer_and_not_tried_again(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(whole(answer()))
        await line.request()
        await line.send(b"HTTP/1.1 200 OK\r\ncontent-")

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask()
            assert (await client.answer()).status == 200
            await client.ask()
            assert (await client.answer()).status == 502
            ends = await gate.settled(2)
            assert [closed.outcome for closed in ends] == [Outcome.OK, Outcome.FAILED]
            assert len(gate.upstream.lines) == 1

    run(main())


# --- what upstreams answer --------------------------------------------------------------------------

SECRETIVE = b'{"error":{"message":"Incorrect key %b at http://10.0.0.7/v1","code":"invalid_api_key"}}'
REFUSED, FAILED = Outcome.REFUSED, Outcome.FAILED

STATUSES = [
    # upstream's status and body, our status, type, code, outcome
    (
        "400 Bad Request",
        b'{"error":{"message":"no","code":"bad"}}',
        400,
        "invalid_request_error",
        "bad",
        REFUSED,
    ),
    ("400 Bad Request", b"<html>", 400, "invalid_request_error", None, REFUSED),
    ("401 Unauthorized", SECRETIVE % UPSTREAM_KEY.encode(), 502, "api_error", "upstream_error", FAILED),
    ("403 Forbidden", SECRETIVE % UPSTREAM_KEY.encode(), 502, "api_error", "upstream_error", FAILED),
    (
        "404 Not Found",
        b'{"error":{"message":"The model does not exist","code":"model_not_found"}}',
        404,
        "invalid_request_error",
        "model_not_found",
        REFUSED,
    ),
    ("404 Not Found", b"<html>nginx</html>", 502, "api_error", "upstream_error", FAILED),
    ("413 Too Large", b"{}", 413, "invalid_request_error", None, REFUSED),
    (
        "422 Unprocessable",
        b'{"detail":[{"msg":"field required"}]}',
        400,
        "invalid_request_error",
        None,
        REFUSED,
    ),
    ("429 Too Many", b'{"error":{"message":"slow"}}', 429, "requests", "rate_limit_exceeded", REFUSED),
    (
        "429 Too Many",
        b'{"error":{"message":"pay","code":"insufficient_quota"}}',
        503,
        "api_error",
        "upstream_unavailable",
        FAILED,
    ),
    ("500 Error", b"Traceback (most recent call last)", 502, "api_error", "upstream_error", FAILED),
    ("503 Unavailable", b"", 503, "api_error", "upstream_unavailable", FAILED),
    ("504 Timeout", b"", 504, "api_error", "upstream_timeout", FAILED),
    ("301 Moved", b"", 502, "api_error", "upstream_error", FAILED),
    ("307 Temporary Redirect", b"", 502, "api_error", "upstream_error", FAILED),
    ("204 No Content", b"", 502, "api_error", "upstream_error", FAILED),
    ("999 What", b"", 502, "api_error", "upstream_error", FAILED),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("line", "body", "status", "kind", "code", "outcome"),
    STATUSES,
    ids=[f"{status[0]} {at}" for at, status in enumerate(STATUSES)],
)
def test_what_upstreams_answer(
    tmp_path: Path,
    line: str,
    body: bytes,
    status: int,
    kind: str,
    code: str | None,
    outcome: Outcome,
    stream: bool,
) -> None:
    reply = whole(body, line, "location: http://10.0.0.7/elsewhere")
    if line.startswith("204"):
        reply = b"HTTP/1.1 204 No Content\r\n\r\n"

    async def main() -> None:
        async with house(tmp_path, sending(reply)) as gate:
            client = await gate.client()
            for _ in range(2):
                await client.ask(stream)
                found = await client.answer()
                assert found.status == status
                assert (found.error["type"], found.error["code"]) == (kind, code)
                assert b"10.0.0.7" not in found.body
                assert found.headers["x-request-id"].startswith("req_")
                assert ("x-should-retry" in found.headers) == (status >= 500)
                assert "location" not in found.headers
            ends = await gate.settled(2)
            assert [(closed.outcome, closed.status) for closed in ends] == [(outcome, int(line[:3]))] * 2
            assert all(closed.usage == UNKNOWN_USAGE or stream for closed in ends)

    run(main())


def test_when_to_come_back_is_passed_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(whole(b"{}", "429 Slow", "retry-after: 7"))) as gate:
            found = await gate.call()
            assert found.status == 429
            assert found.headers["retry-after"] == "7"
            assert found.headers["retry-after-ms"] == "7000"
            assert "x-should-retry" not in found.headers

    run(main())


@pytest.mark.parametrize(
    "tail",
    [
        b"content-length: 200000\r\n\r\n" + b'{"error":{"message":"' + b"x" * (200_000 - 24) + b'"}}\n',
        b"content-length: 500\r\n\r\n" + b'{"error":{"mess',
        b"\r\n" + b"y" * (ERROR_BODY_BYTES + 1),
    ],
    ids=["too long", "cut short", "too long until close"],
)
def test_a_refusal_that_cannot_be_read_whole_keeps_its_status(tmp_path: Path, tail: bytes) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(b"HTTP/1.1 400 Bad Request\r\n" + tail)

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            found = await gate.call()
            assert found.status == 400
            assert found.error["type"] == "invalid_request_error"
            [closed] = await gate.settled()
            assert (closed.outcome, closed.status) == (Outcome.REFUSED, 400)

    run(main())


def test_an_upstream_that_cannot_be_reached(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        raise AssertionError("it does not listen any more")

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            assert gate.upstream._server is not None
            gate.upstream._server.close()
            for stream in (False, True):
                found = await gate.call(stream)
                assert found.status == 503
                assert found.error["code"] == "upstream_unavailable"
                assert found.headers["x-should-retry"] == "false"
            ends = await gate.settled(2)
            assert [(closed.outcome, closed.status) for closed in ends] == [(Outcome.FAILED, 0)] * 2

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_does_not_answer_in_time(tmp_path: Path, stream: bool) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script, first_byte_timeout_ms=100) as gate:
            found = await gate.call(stream)
            assert found.status == 504
            assert found.error["code"] == "upstream_timeout"
            await gate.upstream.ended()
            [closed] = await gate.settled()
            assert (closed.outcome, closed.status) == (Outcome.FAILED, 0)

    run(main())


@pytest.mark.parametrize(
    "garbage",
    [b"hello\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"\x16\x03\x01", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"],
)
def test_an_upstream_that_does_not_speak_http(tmp_path: Path, garbage: bytes) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(garbage), first_byte_timeout_ms=2000, idle_timeout_ms=300) as gate:
            found = await gate.call()
            assert found.status in (502, 504)
            assert found.error["type"] == "api_error"
            [closed] = await gate.settled()
            assert closed.outcome is Outcome.FAILED

    run(main())


@pytest.mark.parametrize("sent", [b"", whole(answer())[:-5]], ids=["before the head", "in the body"])
def test_a_client_that_leaves_a_whole_reply(tmp_path: Path, sent: bytes) -> None:
    arrived = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.send(sent)
        arrived.set()
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask()
            await arrived.wait()
            client.hang_up()
            await gate.upstream.ended()
            [closed] = await gate.settled()
            assert closed.outcome is Outcome.CLIENT_GONE
            assert closed.usage.source is Source.PARTIAL
            assert closed.usage.input_tokens > 0

    run(main())


# --- the journal ------------------------------------------------------------------------------------


def test_an_attempt_is_recorded_before_it_is_sent(tmp_path: Path) -> None:
    recorded: list[int] = []

    async def script(line: Line) -> None:
        await line.request()
        recorded.append(len(sound(tmp_path / "journal")))
        await line.send(whole(answer()))
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            assert (await gate.call()).status == 200
            assert recorded == [1]

    run(main())


@pytest.mark.parametrize("error", [StoreFull("no room at /data"), StoreError("cannot sync /data")])
def test_what_cannot_be_recorded_is_not_sent(tmp_path: Path, error: StoreError) -> None:
    held, arrived = asyncio.Event(), asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(said("one")))
        arrived.set()
        await held.wait()
        await line.send(chunk(finished() + usage(1, 2) + DONE), LAST)
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            running = await gate.client()
            await running.ask(stream=True)
            await arrived.wait()
            opening = gate.journal.open

            def refuse(*_: object) -> int:
                raise error

            gate.journal.open = refuse  # type: ignore[method-assign, assignment]
            for stream in (False, True):
                found = await gate.call(stream)
                assert found.status == 503
                assert found.error["type"] == "api_error"
                assert found.headers["retry-after"] == "5"
                assert b"/data" not in found.body
            assert len(gate.upstream.lines) == 1
            gate.journal.open = opening  # type: ignore[method-assign]
            held.set()
            assert (await running.answer()).body.endswith(DONE)
            [closed] = await gate.settled()
            assert closed.outcome is Outcome.OK

    run(main())


def test_a_full_disk_refuses_new_requests_and_lets_running_ones_end(tmp_path: Path) -> None:
    held, arrived = asyncio.Event(), asyncio.Event()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(said("one")))
        arrived.set()
        await held.wait()
        await line.send(chunk(finished() + usage(1, 2) + DONE), LAST)
        await line.request()
        await line.send(whole(answer()))
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            await arrived.wait()
            # No file may grow to the size of a segment: what a full disk does, on any machine.
            resource.setrlimit(resource.RLIMIT_FSIZE, (SEGMENT_BYTES - 1, most))
            with pytest.raises(StoreFull):
                fill(gate.journal, 100_000)
            for stream in (False, True):
                found = await gate.call(stream)
                assert (found.status, found.headers["retry-after"]) == (503, "5")
            held.set()
            assert (await client.answer()).body.endswith(DONE)
            [closed] = next(closed for opened, closed in gate.records() if opened.request_id != "req_1")
            assert (closed.outcome, closed.usage.output_tokens) == (Outcome.OK, 2)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            while (await gate.call()).status == 503:
                await asyncio.sleep(0.05)  # the journal looks for room once a second
            assert gate.records()[-1][1][0].outcome is Outcome.OK

    try:
        run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


class Disk:
    """Stands between a journal and its disk: tells when it is waited for, and lets it answer when told."""

    def __init__(self, gate: House) -> None:
        self.waits: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        self._flushed = gate.journal.flushed
        gate.journal.flushed = self.flushed  # type: ignore[method-assign]

    async def flushed(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waits.put_nowait(waiting)
        await waiting
        await self._flushed()

    async def waited_for(self) -> asyncio.Future[None]:
        return await self.waits.get()


def test_with_an_interval_of_zero_the_disk_comes_before_the_upstream_and_before_the_last_byte(
    tmp_path: Path,
) -> None:
    requests: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(line: Line) -> None:
        while True:
            asked = await line.request()
            requests.put_nowait(asked)
            if b'"stream": true' in asked or b'"stream":true' in asked:
                await line.send(STREAM, chunk(said("Hi") + finished() + usage(1, 2) + DONE), LAST)
            else:
                size = json.loads(asked.partition(b"\r\n\r\n")[2])["max_tokens"]
                await line.send(whole(answer("x" * size)))

    async def main() -> None:
        async with house(tmp_path, script, fsync_interval_ms=0) as gate:
            disk = Disk(gate)
            client = await gate.client()

            await client.ask(stream=True)
            before = await disk.waited_for()
            assert [closed for _, closed in gate.records()] == [[]]
            assert requests.empty(), "sent before its record was on the disk"
            before.set_result(None)
            await requests.get()
            last = await disk.waited_for()
            assert [len(closed) for _, closed in gate.records()] == [1]
            await client.head()
            assert await client.until(finished()) == said("Hi") + finished()
            reading = asyncio.ensure_future(client.rest())
            await asyncio.sleep(0.05)
            assert not reading.done(), "the end was sent before its record was on the disk"
            last.set_result(None)
            assert await reading == DONE

            for turn, size in ((2, 10), (3, 3_000_000)):
                await client.ask(max_tokens=size)
                (await disk.waited_for()).set_result(None)
                await requests.get()
                last = await disk.waited_for()
                assert [len(closed) for _, closed in gate.records()] == [1] * turn
                reading = asyncio.ensure_future(client.answer())  # type: ignore[arg-type]
                await asyncio.sleep(0.05)
                assert not reading.done()
                last.set_result(None)
                assert len((await reading).body) > size  # type: ignore[attr-defined]

    run(main())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
def test_with_an_interval_of_zero_a_disk_that_fails_is_an_error(
    tmp_path: Path, stream: bool, when: str
) -> None:
    reply = (
        [STREAM, chunk(said("Hi") + finished() + usage(1, 2) + DONE), LAST] if stream else [whole(answer())]
    )

    async def main() -> None:
        async with house(tmp_path, sending(*reply), fsync_interval_ms=0) as gate:
            disk = Disk(gate)
            client = await gate.client()
            await client.ask(stream)
            waiting = await disk.waited_for()
            if when == "after":
                waiting.set_result(None)
                waiting = await disk.waited_for()
            waiting.set_exception(StoreError("cannot sync /data"))
            waiting = await disk.waited_for()  # the error's own end waits for its record as well
            waiting.set_result(None)
            found = await client.answer()
            assert DONE not in found.body
            assert b"The server cannot record requests now." in found.body
            assert b"/data" not in found.body
            assert found.status == (200 if stream and when == "after" else 503)
            assert len(gate.upstream.lines) == (when == "after")

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_with_an_interval_of_zero_a_refusal_is_recorded_first(tmp_path: Path, stream: bool) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(whole(b"{}", "400 No")), fsync_interval_ms=0) as gate:
            disk = Disk(gate)
            client = await gate.client()
            await client.ask(stream)
            (await disk.waited_for()).set_result(None)
            waiting = await disk.waited_for()
            [(_, [closed])] = gate.records()
            assert closed.outcome is Outcome.REFUSED
            waiting.set_result(None)
            assert (await client.answer()).status == 400

    run(main())


def test_with_an_interval_of_zero_everything_still_works(tmp_path: Path) -> None:
    stream = said("Hi") + finished() + usage(1, 2) + DONE

    async def script(line: Line) -> None:
        while True:
            asked = await line.request()
            if b'"stream": true' in asked or b'"stream":true' in asked:
                await line.send(STREAM, chunk(stream), LAST)
            else:
                await line.send(whole(answer()))

    async def one(gate: House, stream: bool) -> None:
        client = await gate.client()
        for _ in range(5):
            await client.ask(stream)
            assert (await client.answer()).status == 200

    async def main() -> None:
        async with house(tmp_path, script, fsync_interval_ms=0) as gate:
            await asyncio.gather(*(one(gate, bool(number % 2)) for number in range(10)))
            assert all(closed.outcome is Outcome.OK for closed in await gate.settled(50))

    run(main())


def test_with_an_interval_of_zero_a_client_that_leaves_while_the_disk_is_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(whole(answer())), fsync_interval_ms=0) as gate:
            disk = Disk(gate)
            client = await gate.client()
            await client.ask()
            await disk.waited_for()
            client.hang_up()
            [closed] = await gate.settled()
            assert closed.outcome is Outcome.CLIENT_GONE
            assert not gate.upstream.lines

    run(main())


def test_an_event_of_our_own_kind(tmp_path: Path) -> None:
    """A stream whose first event is an error still has its HTTP status, and its attempt the upstream's."""

    async def main() -> None:
        async with house(tmp_path, sending(STREAM, chunk(event(error={"code": "x"})), LAST)) as gate:
            found = await gate.call(stream=True)
            assert (found.status, found.error["code"]) == (502, "x")
            [closed] = await gate.settled()
            assert (closed.outcome, closed.status) == (Outcome.FAILED, 200)

    run(main())
