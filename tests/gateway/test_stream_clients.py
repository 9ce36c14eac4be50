"""Streams and their readers: those who leave, those who are slow, many at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from headgate.core.ports import Outcome
from headgate.core.usage import Source
from tests.backends.scripted import Line, until
from tests.conftest import run
from tests.gateway.house import (
    DONE,
    KEY,
    LAST,
    ROLE,
    STREAM,
    House,
    chunk,
    errors_in,
    finished,
    house,
    said,
    sending,
    usage,
)

# --- clients that leave -----------------------------------------------------------------------------


def leaving(stage: str, arrived: asyncio.Event) -> Callable[[Line], Awaitable[None]]:
    """An upstream that gets so far, tells, and waits until it is left."""

    async def script(line: Line) -> None:
        await line.request()
        if stage == "before the first event":
            await line.send(STREAM)
        elif stage == "in mid-stream":
            await line.send(STREAM, chunk(ROLE + said("one two three")))
        elif stage == "after usage":
            await line.send(STREAM, chunk(ROLE + said("one") + finished() + usage(3, 4)))
        elif stage == "after [DONE]":
            await line.send(STREAM, chunk(ROLE + usage(3, 4) + DONE))
        arrived.set()
        await line.gone()

    return script


STAGES = {
    "before the head": (Outcome.CLIENT_GONE, 0, Source.PARTIAL, 0),
    "before the first event": (Outcome.CLIENT_GONE, 200, Source.PARTIAL, 0),
    "in mid-stream": (Outcome.CLIENT_GONE, 200, Source.PARTIAL, 3),
    "after usage": (Outcome.CLIENT_GONE, 200, Source.REPORTED, 4),
    "after [DONE]": (Outcome.OK, 200, Source.REPORTED, 4),
}


@pytest.mark.parametrize("how", ["close", "abort", "half-close"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_client_that_leaves_cancels_its_upstream(tmp_path: Path, stage: str, how: str) -> None:
    outcome, status, source, tokens = STAGES[stage]

    async def main() -> None:
        arrived = asyncio.Event()
        async with house(tmp_path, leaving(stage, arrived)) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            await arrived.wait()
            if stage not in ("before the head", "before the first event"):
                await client.head()
                await client.until(b"\n\n")
            elif stage == "before the first event":
                await until(
                    lambda: bool(gate.upstream.lines[0].writer.transport.get_write_buffer_size() == 0)
                )
                await asyncio.sleep(0.05)  # the head is on its way to the gate, which shows it to nobody
            {"close": client.hang_up, "abort": client.abort, "half-close": client.half_close}[how]()
            await gate.upstream.ended()
            [closed] = await gate.settled()
            assert (closed.outcome, closed.status) == (outcome, status)
            assert (closed.usage.source, closed.usage.output_tokens) == (source, tokens)
            assert closed.usage.input_tokens > 0

    run(main())


def test_a_client_that_leaves_while_the_gate_connects(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        raise AssertionError("nobody connects")

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            connecting = asyncio.Event()

            async def never(*_: object, **__: object) -> Any:
                connecting.set()
                await asyncio.Event().wait()

            gate.pool.send = never  # type: ignore[method-assign]
            client = await gate.client()
            await client.ask(stream=True)
            await connecting.wait()
            client.hang_up()
            [closed] = await gate.settled()
            assert (closed.outcome, closed.status) == (Outcome.CLIENT_GONE, 0)

    run(main())


def test_a_slow_reader_pauses_its_upstream_and_loses_nothing(tmp_path: Path) -> None:
    piece = chunk(said("water " * 10_000))
    count = 800  # 48 MB
    sent = 0

    async def script(line: Line) -> None:
        nonlocal sent
        await line.request()
        await line.send(STREAM)
        while sent < count:
            await line.send(piece)
            sent += 1
        await line.send(chunk(finished() + DONE), LAST)
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            await client.head()
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.3)
            assert 0 < sent < count // 2, "the upstream was not held back"
            body = await client.rest()
            assert body == said("water " * 10_000) * count + finished() + DONE
            [closed] = await gate.settled()
            assert closed.outcome is Outcome.OK

    run(main())


def test_a_slow_reader_that_leaves_frees_its_upstream(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM)
        while True:
            await line.send(chunk(said("water " * 10_000)))

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            await client.head()
            await until(lambda: any(connection.writing_paused for connection in gate.server.connections))
            client.abort()
            await gate.upstream.ended()
            [closed] = await gate.settled()
            assert closed.outcome is Outcome.CLIENT_GONE

    run(main())


def test_stopping_the_gate_ends_a_stream_with_an_error(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(ROLE))
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            await client.head()
            await client.until(ROLE)
            stopping = asyncio.ensure_future(gate.server.stop(0.0))
            body = await client.rest()
            client.hang_up()
            await stopping
            [error] = errors_in(body)
            assert "shutting down" in error["message"]
            [closed] = await gate.settled()
            assert (closed.outcome, closed.usage.source) == (Outcome.FAILED, Source.PARTIAL)

    run(main())


def test_old_clients_without_chunks(tmp_path: Path) -> None:
    stream = ROLE + said("Hi") + finished() + DONE

    async def main() -> None:
        async with house(tmp_path, sending(STREAM, chunk(stream), LAST)) as gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            body = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": true}'
            writer.write(
                b"POST /v1/chat/completions HTTP/1.0\r\nauthorization: Bearer %b\r\n"
                b"content-length: %d\r\n\r\n%b" % (KEY.encode(), len(body), body)
            )
            reply = await reader.read()
            writer.close()
            head, _, found = reply.partition(b"\r\n\r\n")
            assert b"transfer-encoding" not in head.lower()
            assert found == stream

    run(main())


# --- many at once -----------------------------------------------------------------------------------


def test_many_streams_do_not_mix(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        while True:
            asked = json.loads((await line.request()).partition(b"\r\n\r\n")[2])
            name = asked["user"]
            await line.send(STREAM)
            for at in range(20):
                await line.send(chunk(said(f"{name}-{at}")))
                await asyncio.sleep(0)
            await line.send(chunk(finished() + usage(int(name), 20) + DONE), LAST)

    async def one(gate: House, number: int) -> None:
        client = await gate.client()
        for turn in range(3):
            name = str(number * 10 + turn)
            await client.ask(stream=True, user=name)
            found = await client.answer()
            assert found.body == b"".join(said(f"{name}-{at}") for at in range(20)) + finished() + DONE

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            await asyncio.gather(*(one(gate, number) for number in range(50)))
            counted = sorted(closed.usage.input_tokens for closed in await gate.settled(150))
            assert counted == sorted(number * 10 + turn for number in range(50) for turn in range(3))

    run(main())


def test_a_client_without_patience_for_the_rest(tmp_path: Path) -> None:
    """An upstream that never stops after its end is not read for ever."""

    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(ROLE + finished() + DONE))
        while True:
            await line.send(chunk(b": still here\n\n"))
            await asyncio.sleep(0.01)

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            assert (await client.answer()).body == ROLE + finished() + DONE
            await client.ask(method="GET", path="/v1/models")
            assert (await client.answer()).status == 200
            await gate.upstream.ended()

    run(main())
