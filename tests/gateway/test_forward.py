"""Replies that need not be JSON: sent as they come, counted, and settled before their last byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.core.ports import Outcome
from headgate.core.usage import Source
from headgate.endpoints import SPEECH
from tests.backends.scripted import Line
from tests.conftest import run
from tests.gateway.house import LAST, Answer, House, chunk, house, sending, whole

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
BODY = json.dumps({"model": "m", "input": "Hello!", "voice": "alloy"}).encode()


async def say(made: House) -> Answer:
    return await made.call(path=SPEECH.path, body=BODY)


@pytest.mark.parametrize(
    "pieces",
    [
        (HEAD + b"content-length: 6\r\n\r\n\x00\x01sou!",),
        (HEAD + b"content-length: 6\r\n\r\n", b"\x00", b"\x01sou", b"!"),
        (CHUNKED, chunk(b"\x00\x01"), chunk(b"sou!"), LAST),
        (CHUNKED + chunk(b"\x00\x01sou!") + LAST,),
    ],
)
def test_bytes_arrive_as_they_were(pieces: tuple[bytes, ...], tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(*pieces)) as made:
            answer = await say(made)
            assert (answer.status, answer.body) == (200, b"\x00\x01sou!")
            assert answer.headers["content-type"] == "audio/mpeg"
            (closed,) = await made.settled()
            assert closed.outcome is Outcome.OK
            assert (closed.usage.source, closed.usage.characters) == (Source.ESTIMATED, len("Hello!"))

    run(main())


def test_sound_is_sent_while_it_is_made(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(CHUNKED, chunk(b"first piece"))
        await line.gone()  # the rest never comes

    async def main() -> None:
        async with house(tmp_path, script) as made:
            client = await made.client()
            await client.ask(path=SPEECH.path, body=BODY)
            assert (await client.head()).status_code == 200
            assert await client.until(b"first piec") == b"first piec"
            client.hang_up()
            (closed,) = await made.settled()
            assert closed.outcome is Outcome.CLIENT_GONE

    run(main())


@pytest.mark.parametrize("fsync_interval_ms", [0, 1000])
def test_the_record_comes_before_the_last_byte(fsync_interval_ms: int, tmp_path: Path) -> None:
    async def main() -> None:
        script = sending(CHUNKED, chunk(b"sound"), LAST)
        async with house(tmp_path, script, fsync_interval_ms=fsync_interval_ms) as made:
            answer = await say(made)
            assert answer.body == b"sound"
            ((_, closed),) = made.records()
            assert len(closed) == 1

    run(main())


def test_a_body_that_breaks_off_is_cut_off_and_told_in_the_journal(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(CHUNKED, chunk(b"half of it"))

    async def main() -> None:
        async with house(tmp_path, script) as made:
            client = await made.client()
            await client.ask(path=SPEECH.path, body=BODY)
            await client.head()
            await client.closed()
            (closed,) = await made.settled()
            assert closed.outcome is Outcome.FAILED

    run(main())


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (whole(b"not json"), 502),
        (whole(b'{"error":{"message":"x"}}'), 502),
        (
            whole(
                b'{"error":{"message":"no voice","type":"invalid_request_error","param":"voice"}}',
                "400 Bad Request",
            ),
            400,
        ),
        (whole(b"", "302 Found"), 502),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx", 502),
    ],
)
def test_errors_are_errors(reply: bytes, status: int, tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(reply)) as made:
            answer = await say(made)
            assert answer.status == status
            assert answer.error["message"]
            (closed,) = await made.settled()
            assert closed.outcome is not Outcome.OK

    run(main())


def test_an_empty_sound_is_a_reply(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(HEAD + b"content-length: 0\r\n\r\n")) as made:
            answer = await say(made)
            assert (answer.status, answer.body) == (200, b"")

    run(main())
