"""An attempt's two records: before it is sent and before its last byte, on the disk where they have to be."""

from __future__ import annotations

import asyncio
import json
import resource
from pathlib import Path
from typing import Any

import h11
import pytest

from headgate.core.errors import StoreError, StoreFull
from headgate.core.ports import Outcome
from tests.backends.scripted import Line
from tests.conftest import run
from tests.gateway.house import (
    DONE,
    LAST,
    SEGMENT_BYTES,
    STREAM,
    House,
    answer,
    chunk,
    event,
    finished,
    house,
    said,
    sending,
    usage,
    whole,
)
from tests.store.records import fill, sound


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


REPLIES = {
    "whole": [whole(answer())],
    "large": [whole(answer("x" * 3_000_000))],
    "stream": [STREAM, chunk(said("Hi") + finished() + usage(1, 2) + DONE), LAST],
    "stream without an end": [STREAM, chunk(said("Hi") + finished()), LAST],
}


@pytest.mark.parametrize("kind", REPLIES)
def test_an_outcome_is_recorded_before_the_last_byte(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Shown by a record that fails: nobody gets a complete reply then."""

    async def main() -> None:
        async with house(tmp_path, sending(*REPLIES[kind])) as gate:
            close = gate.journal.close

            def fail(*record: Any) -> None:
                close(*record)
                raise RuntimeError("cannot record")

            gate.journal.close = fail  # type: ignore[method-assign, assignment]
            client = await gate.client()
            await client.ask("stream" in kind)
            if kind == "large":
                with pytest.raises(h11.RemoteProtocolError):
                    await client.answer()
            else:
                found = await client.answer()
                assert DONE not in found.body
                assert b"server_error" in found.body
                assert found.status == (500 if kind != "stream without an end" else 200)

    run(main())
    assert "cannot record" in caplog.text


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
