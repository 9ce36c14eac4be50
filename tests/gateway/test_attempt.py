"""One try at an upstream: dead connections, refusals, timeouts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from headgate.core.ports import Outcome
from headgate.core.usage import UNKNOWN_USAGE, Source
from headgate.dialects.llamacpp import LlamaCpp
from headgate.gateway.attempt import ERROR_BODY_BYTES
from tests.backends.scripted import Line
from tests.conftest import run
from tests.gateway.house import (
    DONE,
    LAST,
    STREAM,
    UPSTREAM_KEY,
    answer,
    chunk,
    finished,
    house,
    said,
    sending,
    usage,
    whole,
)

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


def test_a_prompt_that_is_too_long_is_no_fault_of_messages(tmp_path: Path) -> None:
    error = {"message": "too long", "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 4}
    script = sending(whole(json.dumps({"error": error}).encode(), "400 Bad Request"))

    async def main() -> None:
        async with house(tmp_path, script, dialect=LlamaCpp()) as made:
            asked = await made.call(path="/v1/completions", body=b'{"model":"m","prompt":"a long one"}')
            assert (asked.error["param"], asked.error["code"]) == ("prompt", "context_length_exceeded")
            chatted = await made.call()
            assert chatted.error["param"] == "messages"

    run(main())
