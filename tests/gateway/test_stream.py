"""Streams end to end: whole events, comments, errors, ends of every kind, hang-ups, slow readers."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.core.ports import Outcome
from headgate.core.sse import MAX_EVENT_BYTES
from headgate.core.usage import Source, Usage
from headgate.gateway import pipeline
from headgate.gateway.stream import Pace
from tests.backends.scripted import Line, until
from tests.conftest import run
from tests.gateway.house import (
    DONE,
    KEY,
    LAST,
    STREAM,
    House,
    chunk,
    event,
    finished,
    house,
    said,
    usage,
    whole,
)

STEP_MS = 20
BRISK = Pace(first_comment_ms=60, comment_ms=60)
COMMENT = b": waiting\n\n"
ROLE = event(id="chatcmpl-1", choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])


@pytest.fixture(autouse=True)
def _quick_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PULSE_STEP_MS", STEP_MS)


def sending(*pieces: bytes) -> Callable[[Line], Awaitable[None]]:
    """A script that answers every request with these bytes."""

    async def script(line: Line) -> None:
        while True:
            await line.request()
            await line.send(*pieces)

    return script


def errors_in(body: bytes) -> list[dict[str, Any]]:
    """The error events of a stream's body."""
    events = [one.removeprefix(b"data: ") for one in body.split(b"\n\n") if one.startswith(b'data: {"error"')]
    return [json.loads(one)["error"] for one in events]


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
            assert closed.usage.output_tokens == 500
            assert closed.usage.input_tokens > 10

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


# --- failures ---------------------------------------------------------------------------------------


def test_a_refusal_before_the_first_event_has_its_status(tmp_path: Path) -> None:
    refusal = whole(
        b'{"error":{"message":"too long","param":"messages","code":"context_length_exceeded"}}', "400 No"
    )

    async def main() -> None:
        async with house(tmp_path, sending(refusal)) as gate:
            found = await gate.call(stream=True)
            assert found.status == 400
            assert found.error == {
                "message": "too long",
                "type": "invalid_request_error",
                "param": "messages",
                "code": "context_length_exceeded",
            }
            [closed] = await gate.settled()
            assert (closed.outcome, closed.status) == (Outcome.REFUSED, 400)

    run(main())


NO_STREAM = {
    "a whole reply": whole(b'{"choices":[]}'),
    "a page of HTML": whole(b"<html>").replace(b"application/json", b"text/html"),
    "HTML that claims to be a stream": STREAM + chunk(b"<html>\n\n<body>10.0.0.7\n\n</body></html>") + LAST,
    "a packed stream": STREAM[:-2] + b"content-encoding: gzip\r\n\r\n" + chunk(gzip.compress(ROLE)) + LAST,
    "much of a packed stream": STREAM[:-2] + b"content-encoding: br\r\n\r\n" + chunk(b"x" * 2_000_000) + LAST,
    "nothing": STREAM + LAST,
    "an empty reply": whole(b"").replace(b"application/json", b"text/event-stream"),
    "only a comment cut short": STREAM + chunk(b": hel") + LAST,
    "an error at once": STREAM
    + chunk(event(error={"message": "sk-of-the-upstream-9876543210", "code": 7}))
    + LAST,
    "an error and content": STREAM + chunk(event(error="no") + said("x") + DONE) + LAST,
    "a comment and an error": STREAM + chunk(b": PROCESSING\n\n") + chunk(event(error="no")) + LAST,
    "a comment, then nothing": STREAM + chunk(b": PROCESSING\n\nevent: ping\n\n") + LAST,
    "only broken events": STREAM + chunk(b"data: {\n\ndata: x\n\n") + LAST,
}


@pytest.mark.parametrize("reply", NO_STREAM.values(), ids=NO_STREAM)
def test_what_is_no_stream_is_a_clean_502(tmp_path: Path, reply: bytes) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(reply)) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            found = await client.answer()
            assert found.status == 502
            assert found.error["type"] == "api_error"
            assert found.headers["x-should-retry"] == "false"
            assert b"10.0.0.7" not in found.body
            [closed] = await gate.settled()
            assert (closed.outcome, closed.status) == (Outcome.FAILED, 200)
            await client.ask(method="GET", path="/v1/models")
            assert (await client.answer()).status == 200

    run(main())


ERROR = event(
    error={"message": "The server at http://10.0.0.7:8000 burns", "type": "x", "param": None, "code": "hot"}
)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("after", [b"", DONE, said("more") + DONE, ERROR + ERROR])
def test_an_error_in_the_stream_is_one_event_and_the_end(
    tmp_path: Path, after: bytes, together: bool
) -> None:
    pieces = [ROLE + said("one"), ERROR, after] if not together else [ROLE + said("one") + ERROR + after]

    async def main() -> None:
        reply = [STREAM, *(chunk(piece) for piece in pieces if piece), LAST]
        async with house(tmp_path, sending(*reply)) as gate:
            found = await gate.call(stream=True)
            assert found.status == 200
            [error] = errors_in(found.body)
            assert error == {
                "message": "The upstream reported an error in mid-stream.",
                "type": "api_error",
                "param": None,
                "code": "hot",
            }
            assert found.body.startswith(ROLE + said("one") + b'data: {"error":')
            assert found.body.endswith(b"}}\n\n")
            assert DONE not in found.body
            [closed] = await gate.settled()
            assert closed.outcome is Outcome.FAILED
            assert closed.usage.source is Source.PARTIAL
            assert closed.usage.output_tokens == 1

    run(main())


@pytest.mark.parametrize(
    "code", ["insufficient_quota", "invalid_api_key", 429, None, "sk-of-the-upstream-9876543210"]
)
def test_what_an_error_says_of_the_operators_account_stays_inside(tmp_path: Path, code: object) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(STREAM, chunk(ROLE + event(error={"code": code})), LAST)) as gate:
            [error] = errors_in((await gate.call(stream=True)).body)
            assert error["code"] in ("upstream_error", "[key]")

    run(main())


BREAKS = {
    "mid-event": chunk(ROLE + said("one") + said("two")[:-5]),
    "between events": chunk(ROLE + said("one")),
    "mid-chunk": chunk(ROLE + said("one") + said("two"))[:-20],
    "mid-line after an end": chunk(ROLE + said("one") + finished() + b"data: {"),
    "garbage for a chunk": chunk(ROLE + said("one")) + b"zz\r\n",
}


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("sent", BREAKS.values(), ids=BREAKS)
def test_an_upstream_that_dies_is_an_event(tmp_path: Path, sent: bytes, reset: bool) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, sent)
        if reset:
            await asyncio.sleep(0.05)  # a reset can overtake what was sent before it
            line.reset()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            found = await client.answer()
            assert found.status == 200
            [error] = errors_in(found.body)
            assert error["code"] == "upstream_error"
            assert found.body.startswith(ROLE + said("one"))
            assert found.body.endswith(b"}}\n\n")
            assert DONE not in found.body
            assert said("two")[:-5] not in found.body, "half an event is no event"
            [closed] = await gate.settled()
            assert closed.outcome is Outcome.FAILED
            assert closed.usage.source is Source.PARTIAL
            await client.ask(method="GET", path="/v1/models")
            assert (await client.answer()).status == 200

    run(main())


@pytest.mark.parametrize("end", [b"", LAST], ids=["broken off", "ended"])
@pytest.mark.parametrize("before", [ROLE, ROLE + finished()])
def test_an_upstream_that_dies_inside_an_event_over_the_cap(
    tmp_path: Path, before: bytes, end: bytes
) -> None:
    large = b'data: {"image":"' + b"A" * (2 * MAX_EVENT_BYTES)

    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(before + large), end)

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            found = await gate.call(stream=True)
            [error] = errors_in(found.body)
            assert error["code"] == "upstream_error"
            assert found.body.startswith(before)
            cut, last, nothing = found.body.removeprefix(before).split(b"\n\n")
            assert cut.startswith(b'data: {"image":"AAA')
            assert last.startswith(b'data: {"error":')
            assert nothing == b""

    run(main())


def test_an_upstream_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(ROLE))
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script, idle_timeout_ms=200) as gate:
            found = await gate.call(stream=True)
            [error] = errors_in(found.body)
            assert error["code"] == "upstream_timeout"
            await gate.upstream.ended()

    run(main())


# --- ends -------------------------------------------------------------------------------------------

ENDS = {
    "a finish reason": (ROLE + said("Hi") + finished(), Source.ESTIMATED),
    "usage": (ROLE + said("Hi") + finished() + usage(3, 4), Source.REPORTED),
    "a last event without its blank line": (ROLE + said("Hi") + finished()[:-2], Source.ESTIMATED),
    "[DONE] without its blank line": (ROLE + said("Hi") + finished() + DONE[:-2], Source.ESTIMATED),
    "[DONE] alone": (ROLE + said("Hi") + DONE, Source.ESTIMATED),
    "something after [DONE]": (ROLE + said("Hi") + DONE + said("late") + usage(1, 1), Source.ESTIMATED),
}


@pytest.mark.parametrize(
    ("name", "framing"),
    [(name, framing) for name in ENDS for framing in ("chunked", "until close")]
    # Half an event at the end of a broken connection is among the failures.
    + [(name, "broken off") for name in ENDS if not name.endswith("blank line")],
)
def test_ends_that_are_good_enough(tmp_path: Path, name: str, framing: str) -> None:
    sent, source = ENDS[name]

    async def script(line: Line) -> None:
        await line.request()
        if framing == "until close":
            await line.send(STREAM.replace(b"transfer-encoding: chunked\r\n", b""), sent)
        else:
            await line.send(STREAM, chunk(sent), LAST if framing == "chunked" else b"")

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            found = await gate.call(stream=True)
            assert found.body.startswith(ROLE + said("Hi"))
            assert found.body.endswith(DONE)
            assert found.body.count(DONE) == 1
            assert b"late" not in found.body
            assert not errors_in(found.body)
            [closed] = await gate.settled()
            assert (closed.outcome, closed.usage.source) == (Outcome.OK, source)

    run(main())


@pytest.mark.parametrize("together", [True, False])
def test_every_choice_has_to_end(tmp_path: Path, together: bool) -> None:
    pieces = [said("one"), finished(index=0), event(choices=[{"index": 1, "delta": {"content": "two"}}])]
    sent = [chunk(b"".join(pieces))] if together else [chunk(piece) for piece in pieces]

    async def main() -> None:
        async with house(tmp_path, sending(STREAM, *sent, LAST)) as gate:
            found = await gate.call(stream=True, n=2)
            assert len(errors_in(found.body)) == 1
            assert DONE not in found.body

    run(main())


def test_done_ends_the_clients_stream_though_the_upstream_lingers(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(ROLE + finished() + DONE))
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            for turn in (1, 2):
                await client.ask(stream=True)
                found = await client.answer()
                assert found.body == ROLE + finished() + DONE
                # It is over for the client while the upstream's connection is still open.
                assert [closed.outcome for closed in await gate.settled(turn)] == [Outcome.OK] * turn
            await gate.upstream.ended()  # given up in the end: nobody waits for it for ever

    run(main())


def test_an_end_that_comes_a_packet_later_keeps_the_connection(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        while True:
            await line.request()
            await line.send(STREAM, chunk(ROLE + finished() + DONE))
            await asyncio.sleep(0.02)  # so that it is a packet of its own
            await line.send(LAST)

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            for _ in range(3):
                await client.ask(stream=True)
                assert (await client.answer()).body.endswith(DONE)
            assert len(gate.upstream.lines) == 1

    run(main())


def test_the_outcome_is_recorded_before_the_last_byte(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(ROLE + finished()))
        await held.wait()
        await line.send(chunk(DONE), LAST)
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            await client.head()
            await client.until(finished())
            [(_, closed)] = gate.records()
            assert closed == []
            held.set()
            await client.until(DONE)
            [(_, [end])] = gate.records()
            assert end.outcome is Outcome.OK
            assert await client.rest() == b""

    run(main())


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


def test_h11_is_the_judge() -> None:
    """The tests' own reader refuses a chunked body without an end."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n")
    assert isinstance(parser.next_event(), h11.Response)
    assert isinstance(parser.next_event(), h11.Data)
    parser.receive_data(b"")
    with pytest.raises(h11.RemoteProtocolError):
        parser.next_event()
