"""Forms through a whole gate: checked, renamed, passed on to a remote upstream, and never left behind."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest

from headgate.core.multipart import Form, FormReader
from headgate.core.ports import Outcome
from headgate.endpoints import TRANSCRIPTIONS
from tests.backends.scripted import Line, silent
from tests.conftest import run
from tests.forms import Part, content_type, form
from tests.gateway.house import Answer, House, event, house, sending, whole

SOUND = ("file", b"\x00\xffsound\r\n--x", "upload")
TEXT = b'{"text":"hello","usage":{"type":"duration","seconds":3}}'


async def ask(made: House, *parts: Part, body: bytes | None = None, kind: str | None = None) -> Answer:
    sent = form(("model", "m"), *parts) if body is None else body
    headers = [("content-type", kind or content_type())]
    return await made.call(path=TRANSCRIPTIONS.path, body=sent, headers=headers)


class Upstream:
    """Answers every request, and keeps the forms that it was sent."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self.heads: list[bytes] = []
        self.forms: list[tuple[Form, bytes]] = []

    async def __call__(self, line: Line) -> None:
        while True:
            head, _, body = (await line.request()).partition(b"\r\n\r\n")
            self.heads.append(head.lower())
            kind = next(one for one in head.split(b"\r\n") if one.lower().startswith(b"content-type:"))
            files: list[bytes] = []
            reader = FormReader(kind.split(b":", 1)[1].strip(), files.append)
            reader.feed(body)
            self.forms.append((reader.finish(), b"".join(files)))
            await line.send(*self._pieces)


def test_a_form_reaches_its_upstream_under_the_models_name_there(tmp_path: Path) -> None:
    upstream = Upstream(whole(TEXT, "200 OK", "x-headgate-languages: en", "x-other: secret"))

    async def main() -> None:
        async with house(tmp_path, upstream) as made:
            answer = await ask(made, SOUND, ("prompt", "你好"), ("odd[]", "1"), ("odd[]", "2"))
            assert (answer.status, answer.body) == (200, TEXT)
            assert answer.headers["x-headgate-languages"] == "en"
            assert "x-other" not in answer.headers
            (closed,) = await made.settled()
            assert closed.outcome is Outcome.OK
            assert closed.usage.seconds == 3

    run(main())
    ((found, files),) = upstream.forms
    assert found.fields == {"prompt": ["你好"], "odd": ["1", "2"], "model": ["m-upstream"]}
    assert [(file.name, file.filename) for file in found.files] == [("file", "upload")]
    assert files == SOUND[1]
    assert upstream.heads[0].startswith(b"post /audio/transcriptions?api=")
    assert b"multipart/form-data; boundary=headgate-" in upstream.heads[0]


def test_a_large_upload_waits_on_disk_and_arrives_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    upstream = Upstream(whole(TEXT))
    data = bytes(range(256)) * 40_000

    async def main() -> None:
        async with house(tmp_path, upstream) as made:
            assert (await ask(made, ("file", data, "upload"))).status == 200
            assert list((tmp_path / "tmp").iterdir()) == []

    run(main())
    assert upstream.forms[0][1] == data


def test_a_connection_that_died_is_replaced_and_the_form_sent_again(tmp_path: Path) -> None:
    upstream = Upstream(whole(TEXT))
    turns = iter("first")

    async def script(line: Line) -> None:
        if next(turns, None) == "f":  # answers once, and is dead when it is used again
            await line.request()
            await line.send(whole(TEXT))
            await line.request()
            return
        await upstream(line)

    async def main() -> None:
        async with house(tmp_path, script) as made:
            assert (await ask(made, SOUND)).status == 200
            assert (await ask(made, SOUND)).status == 200

    run(main())
    assert upstream.forms[0][1] == SOUND[1]


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([], "file"),
        ([("file", b"", "upload")], "file"),
        ([("file", "words")], "file"),
        ([SOUND, SOUND], "file"),
        ([SOUND, ("model", "m")], "model"),
        ([SOUND, ("temperature", "hot")], "temperature"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(parts: list[Part], param: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, silent) as made:
            answer = await ask(made, *parts)
            assert (answer.status, answer.error["param"]) == (400, param)
            assert made.records() == []

    run(main())


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"kind": "application/json"}, 400),
        ({"kind": content_type("another")}, 400),
        ({"body": form(("model", "m"), SOUND, end=False)}, 400),
        ({"body": b""}, 400),
        ({"body": form(("model", "nobody"), SOUND)}, 404),
        ({"body": bytes(TRANSCRIPTIONS.body_limit_bytes + 1)}, 413),
    ],
)
def test_what_is_no_form_is_refused(more: dict[str, Any], status: int, tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, silent) as made:
            assert (await ask(made, **more)).status == status
            assert made.records() == []

    run(main())


def test_a_key_is_needed_before_a_byte_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, silent) as made:
            headers = [("content-type", content_type())]
            answer = await made.call(path=TRANSCRIPTIONS.path, body=form(SOUND), headers=headers, key=None)
            assert answer.status == 401

    run(main())


def test_events_are_passed_on_with_the_engines_headers(tmp_path: Path) -> None:
    delta = event(type="transcript.text.delta", delta="hi")
    done = event(
        type="transcript.text.done",
        text="hi",
        usage={"type": "tokens", "input_tokens": 7, "output_tokens": 2},
    )
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-headgate-languages: en\r\n"
    body = delta + done
    script = sending(head + b"content-length: %d\r\n\r\n" % len(body) + body)

    async def main() -> None:
        async with house(tmp_path, script) as made:
            answer = await ask(made, SOUND, ("stream", "true"))
            assert answer.status == 200
            assert answer.headers["x-headgate-languages"] == "en"
            assert answer.body == delta + done + b"data: [DONE]\n\n"
            (closed,) = await made.settled()
            assert (closed.usage.input_tokens, closed.usage.output_tokens) == (7, 2)

    run(main())


def test_whoever_hangs_up_leaves_nothing_behind(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, silent) as made:
            client = await made.client()
            await client.ask(
                path=TRANSCRIPTIONS.path,
                body=form(("model", "m"), SOUND),
                headers=[("content-type", content_type())],
            )
            async with asyncio.timeout(10):
                while made.in_flight == 0:
                    await asyncio.sleep(0.005)
            client.hang_up()
            (closed,) = await made.settled()
            assert closed.outcome is Outcome.CLIENT_GONE

    run(main())
