"""Streams as they pass: whole events, usage shown and withheld, comments where an upstream is quiet."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.core.ports import Outcome
from headgate.core.sse import MAX_EVENT_BYTES
from headgate.core.usage import Source, Usage
from headgate.gateway.stream import Pace
from tests.backends.scripted import Line
from tests.conftest import run
from tests.gateway.house import (
    BRISK,
    COMMENT,
    DONE,
    LAST,
    ROLE,
    STEP_MS,
    STREAM,
    chunk,
    errors_in,
    event,
    finished,
    house,
    said,
    sending,
    usage,
    whole,
)

# --- what passes ------------------------------------------------------------------------------------


def test_a_stream_passes_byte_for_byte(tmp_path: Path) -> None:
    events = ROLE + b": PROCESSING\n\n" + said("水 water") + b'data:{"x":1.50}\n\n' + finished()
    seen = []

    async def script(line: Line) -> None:
        seen.append(await line.request())
        await line.send(STREAM, chunk(events + usage(3, 4) + DONE), LAST)
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            found = await gate.call(stream=True)
            assert found.status == 200
            assert found.body == events + DONE
            assert found.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert found.headers["cache-control"] == "no-cache"
            assert found.headers["x-accel-buffering"] == "no"
            assert found.headers["x-request-id"].startswith("req_")
            assert found.headers["openai-version"] == "2020-10-01"
            assert int(found.headers["openai-processing-ms"]) >= 0
            [closed] = await gate.settled()
            assert (closed.outcome, closed.status) == (Outcome.OK, 200)
            assert closed.usage == Usage(Source.REPORTED, 3, 0, 4)

    run(main())
    sent = json.loads(seen[0].partition(b"\r\n\r\n")[2])
    assert sent["stream_options"] == {"include_usage": True}


def test_a_client_that_asks_for_usage_gets_it(tmp_path: Path) -> None:
    stream = ROLE + said("Hi") + finished() + usage(3, 4) + DONE

    async def main() -> None:
        async with house(tmp_path, sending(STREAM, chunk(stream), LAST)) as gate:
            client = await gate.client()
            await client.ask(stream=True, stream_options={"include_usage": True})
            assert (await client.answer()).body == stream
            await client.ask(stream=True, stream_options={"include_usage": False})
            assert (await client.answer()).body == stream.replace(usage(3, 4), b"")
            ends = await gate.settled(2)
            assert [closed.usage for closed in ends] == [Usage(Source.REPORTED, 3, 0, 4)] * 2

    run(main())


@given(cuts=st.lists(st.integers(0, 100_000), max_size=10))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cut_on_the_wire_gives_the_same_stream(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    stream = (
        ROLE + said("one") + b": c\n\n" + b"data: broken\n\n" + said("two") + finished() + usage(3, 4) + DONE
    )
    wire = STREAM + b"".join(chunk(stream[at : at + 50]) for at in range(0, len(stream), 50)) + LAST
    edges = sorted({0, len(wire), *(cut % len(wire) for cut in cuts)})

    async def script(line: Line) -> None:
        await line.request()
        for start, end in pairwise(edges):
            await line.send(wire[start:end])
            await asyncio.sleep(0)
        await line.gone()

    async def main() -> None:
        async with house(tmp_path_factory.mktemp("house"), script) as gate:
            found = await gate.call(stream=True)
            assert found.body == stream.replace(b"data: broken\n\n", b"").replace(usage(3, 4), b"")
            [closed] = await gate.settled()
            assert closed.usage == Usage(Source.REPORTED, 3, 0, 4)

    run(main())


def test_each_event_goes_out_as_soon_as_it_is_whole(tmp_path: Path) -> None:
    steps: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM)
        while piece := await steps.get():
            await line.send(chunk(piece))
        await line.send(LAST)
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            steps.put_nowait(ROLE)
            assert (await client.head()).status_code == 200
            assert await client.until(ROLE) == ROLE
            one, two = said("one"), said("two")
            steps.put_nowait(one + two[:-3])
            assert await client.until(one) == one
            steps.put_nowait(two[-3:])
            assert await client.until(two) == two
            for piece in (finished(), DONE, b""):
                steps.put_nowait(piece)
            assert await client.rest() == finished() + DONE

    run(main())


def test_crlf_upstreams(tmp_path: Path) -> None:
    stream = (ROLE + said("Hi") + finished() + usage(3, 4)).replace(b"\n", b"\r\n")

    async def main() -> None:
        async with house(
            tmp_path, sending(STREAM, chunk(stream), chunk(b"data: [DONE]\r\n\r\n"), LAST)
        ) as gate:
            found = await gate.call(stream=True)
            assert found.body == (ROLE + said("Hi") + finished()).replace(b"\n", b"\r\n") + DONE
            [closed] = await gate.settled()
            assert closed.usage == Usage(Source.REPORTED, 3, 0, 4)

    run(main())


def test_words_about_usage_and_errors_in_what_the_model_says_do_no_harm(tmp_path: Path) -> None:
    tricky = [
        '"error": {"message": "x"}',
        'data: {"error": 1}\n\n',
        "data: [DONE]\n\n",
        '{"usage": {}}',
        "error",
    ]
    stream = ROLE + b"".join(said(text) for text in tricky) + finished()

    async def main() -> None:
        async with house(tmp_path, sending(STREAM, chunk(stream + usage(3, 4) + DONE), LAST)) as gate:
            assert (await gate.call(stream=True)).body == stream + DONE

    run(main())


def test_an_event_over_the_cap_passes_raw_and_nothing_comes_between(tmp_path: Path) -> None:
    large = b'data: {"image":"' + b"A" * (3 * MAX_EVENT_BYTES) + b'"}\n\n'
    stream = ROLE + large + said("after") + finished()
    half = len(stream) // 2
    held = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(stream[:half]))
        await held.wait()
        await line.send(chunk(stream[half:] + usage(3, 4) + DONE), LAST)
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script, pace=BRISK) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            await client.head()
            body = b""
            while len(body) < MAX_EVENT_BYTES:
                body += await client.piece() or b""
            await asyncio.sleep(5 * BRISK.comment_ms / 1000)  # in which a comment would come
            held.set()
            body += await client.rest()
            assert body.replace(COMMENT, b"") == stream + DONE
            assert large in body
            [closed] = await gate.settled()
            assert closed.usage == Usage(Source.REPORTED, 3, 0, 4)

    run(main())


def test_usage_that_never_comes_is_estimated(tmp_path: Path) -> None:
    stream = ROLE + b"".join(said("four words, one comma ") for _ in range(100)) + finished() + DONE

    async def main() -> None:
        async with house(tmp_path, sending(STREAM, chunk(stream), LAST)) as gate:
            assert (await gate.call(stream=True)).body == stream
            [closed] = await gate.settled()
            assert closed.usage.source is Source.ESTIMATED
            assert closed.usage.output_tokens == pytest.approx(500, rel=0.1)
            assert closed.usage.input_tokens == 8, "Hi, and the frame that a conversation has"

    run(main())


# --- quiet upstreams --------------------------------------------------------------------------------


def test_a_quiet_stream_gets_comments_between_events_only(tmp_path: Path) -> None:
    held: list[asyncio.Event] = [asyncio.Event() for _ in range(3)]
    one = said("one")

    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(ROLE))
        await held[0].wait()
        await line.send(chunk(one[:10]))  # quiet in the middle of an event
        await held[1].wait()
        await line.send(chunk(one[10:]))
        await held[2].wait()
        await line.send(chunk(finished() + DONE), LAST)
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script, pace=BRISK) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            await client.head()
            body = await client.until(COMMENT * 3)
            held[0].set()
            body += await client.until(COMMENT * 3)
            held[1].set()
            body += await client.until(one)
            body += await client.until(COMMENT * 2)
            held[2].set()
            body += await client.rest()
            assert body.replace(COMMENT, b"") == ROLE + one + finished() + DONE
            assert one in body

    run(main())


def test_a_stream_that_is_not_quiet_gets_no_comment(tmp_path: Path) -> None:
    count = 30

    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM)
        for _ in range(count):
            await line.send(chunk(said("x")))
            await asyncio.sleep(STEP_MS / 1000)  # a steady stream is what is tested
        await line.send(chunk(finished() + DONE), LAST)
        await line.gone()

    async def main() -> None:
        # Twenty times the pause between two events: the noise of a busy machine is no silence.
        async with house(tmp_path, script, pace=Pace(400, 400)) as gate:
            assert (await gate.call(stream=True)).body == said("x") * count + finished() + DONE

    run(main())


def test_a_late_first_token_begins_the_reply_with_a_comment(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await held.wait()
        await line.send(STREAM, chunk(ROLE + finished() + DONE), LAST)
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script, pace=BRISK) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            assert (await client.head()).status_code == 200
            body = await client.until(COMMENT * 2)
            held.set()
            body += await client.rest()
            assert body.replace(COMMENT, b"") == ROLE + finished() + DONE
            [closed] = await gate.settled()
            assert closed.outcome is Outcome.OK

    run(main())


@pytest.mark.parametrize(
    ("late", "status", "outcome"),
    [
        (whole(b'{"error":{"message":"no"}}', "400 Bad Request"), 400, Outcome.REFUSED),
        (whole(b"oops", "500 Internal Server Error"), 500, Outcome.FAILED),
        (b"", 0, Outcome.FAILED),
        (b"not http at all\r\n\r\n", 0, Outcome.FAILED),
        (STREAM + chunk(event(error={"message": "no"})), 200, Outcome.FAILED),
    ],
)
def test_an_upstream_that_fails_after_a_late_first_token_is_an_event(
    tmp_path: Path, late: bytes, status: int, outcome: Outcome
) -> None:
    held = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await held.wait()
        await line.send(late)

    async def main() -> None:
        async with house(tmp_path, script, pace=BRISK) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            assert (await client.head()).status_code == 200
            await client.until(COMMENT)
            held.set()
            body = await client.rest()
            [error] = errors_in(body)
            assert set(error) == {"message", "type", "param", "code"}
            assert body.replace(COMMENT, b"").startswith(b'data: {"error":')
            assert DONE not in body
            [closed] = await gate.settled()
            assert (closed.outcome, closed.status) == (outcome, status)
            # The connection has survived: its chunked body had a proper end.
            await client.ask(method="GET", path="/v1/models")
            assert (await client.answer()).status == 200

    run(main())
