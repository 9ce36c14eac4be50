"""How streams end: refusals, errors in the stream, upstreams that die, ends that are good enough."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import pytest

from headgate.core.ports import Outcome
from headgate.core.sse import MAX_EVENT_BYTES
from headgate.core.usage import Source
from tests.backends.scripted import Line
from tests.conftest import run
from tests.gateway.house import (
    DONE,
    LAST,
    ROLE,
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
