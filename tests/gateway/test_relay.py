"""Whole replies: byte for byte to the client, exactly counted, the large ones in bounded memory."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
from contextlib import ExitStack
from pathlib import Path

import h11
import pytest

from headgate.core.ports import Outcome
from headgate.core.usage import Source, Usage
from headgate.gateway import relay
from headgate.gateway.relay import TAIL_BYTES, WHOLE_BYTES
from tests.backends.scripted import Line, scripted, until
from tests.conftest import run
from tests.gates import open_gate
from tests.gateway.house import LAST, STREAM, Client, answer, chunk, house, whole
from tests.store.records import outcomes, sound

MEGABYTE = 1024 * 1024


def body_of(size: int, usage: object = None) -> bytes:
    """A reply of about this size, with usage at its end, where upstreams put it."""
    text = "水 water \\n".encode() * (size // 12)
    used = json.dumps(usage if usage is not None else {"prompt_tokens": 7, "completion_tokens": 9}, indent=1)
    return b'{"choices":[{"message":{"content":"%b"}}], "usage": %b }\n' % (text, used.encode())


def test_a_reply_passes_byte_for_byte(tmp_path: Path) -> None:
    body = b' {"x": 1.10, "choices":[], "\\u0061":"\\u6c34\xe6\xb0\xb4", "usage" : {"prompt_tokens" : 3}}\r\n'
    seen = []

    async def script(line: Line) -> None:
        seen.append(await line.request())
        await line.send(whole(body, "200 OK", "server: hidden", "x-request-id: theirs", "set-cookie: a=b"))
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            found = await gate.call(temperature=0.5, vendor_field={"a": [1, 2.50]})
            assert found.status == 200
            assert found.body == body
            assert found.headers["content-type"] == "application/json"
            assert found.headers["content-length"] == str(len(body))
            assert found.headers["x-request-id"].startswith("req_")
            assert found.headers["openai-version"] == "2020-10-01"
            assert 0 <= int(found.headers["openai-processing-ms"]) < 60_000
            # Nothing of the upstream's own headers gets out.
            assert not {"server", "set-cookie"} & set(found.headers)
            [(opened, [closed])] = gate.records()
            assert opened.request_id == found.headers["x-request-id"]
            assert (opened.key_id, opened.endpoint) == ("master", "chat.completions")
            assert (opened.model, opened.upstream, opened.upstream_model) == ("m", "far", "m-upstream")
            assert (closed.outcome, closed.status) == (Outcome.OK, 200)
            assert closed.usage == Usage(Source.REPORTED, 3)

    run(main())
    head, _, sent = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /chat/completions?api=query-secret-24680 HTTP/1.1\r\n")
    assert b"authorization: Bearer sk-of-the-upstream" in head
    assert b"of-the-operator" not in seen[0], "the client's own key goes nowhere"
    assert json.loads(sent)["model"] == "m-upstream"
    assert b'"vendor_field":{"a": [1, 2.5]}' in sent, "unknown fields go out as they came"


@pytest.mark.parametrize("size", [0, 1000, WHOLE_BYTES - 2000, WHOLE_BYTES + 2000, 5 * MEGABYTE])
@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
def test_replies_of_any_size_and_framing(tmp_path: Path, size: int, framing: str) -> None:
    body = body_of(size)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"

    async def script(line: Line) -> None:
        while True:
            await line.request()
            if framing == "length":
                await line.send(head + b"content-length: %d\r\n\r\n" % len(body), body)
            elif framing == "chunked":
                pieces = [chunk(body[at : at + 70_000]) for at in range(0, len(body), 70_000)]
                await line.send(head + b"transfer-encoding: chunked\r\n\r\n", *pieces, LAST)
            else:
                await line.send(head + b"\r\n", body)
                return

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            for _ in range(2):
                await client.ask()
                found = await client.answer()
                assert found.status == 200
                assert found.body == body
            ends = await gate.settled(2)
            assert [closed.usage for closed in ends] == [Usage(Source.REPORTED, 7, 0, 9)] * 2
            assert len(gate.upstream.lines) == (2 if framing == "until close" else 1)

    run(main())


def test_a_large_reply_flows_and_its_last_bytes_wait_for_the_journal(
    tmp_path: Path,
) -> None:
    body = body_of(40 * MEGABYTE)
    held = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.send(whole(b"")[:-21], b"content-length: %d\r\n\r\n" % len(body), body[: 30 * MEGABYTE])
        await held.wait()
        await line.send(body[30 * MEGABYTE :])
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask()
            await client.head()
            got = 0
            while got < 30 * MEGABYTE - 3 * TAIL_BYTES:
                piece = await client.piece()
                assert piece is not None
                got += len(piece)
            [(_, closed)] = gate.records()
            assert closed == []
            held.set()
            while got < len(body):
                piece = await client.piece()
                assert piece is not None
                got += len(piece)
                if got == len(body):
                    [(_, [end])] = gate.records()
                    assert end.usage == Usage(Source.REPORTED, 7, 0, 9)
            assert await client.piece() is None

    run(main())


def resident_bytes(process_id: int) -> int:
    """What a process holds in memory."""
    found = subprocess.run(["ps", "-o", "rss=", "-p", str(process_id)], capture_output=True, check=True)
    return int(found.stdout) * 1024


def test_two_hundred_megabytes_pass_through_a_few(tmp_path: Path) -> None:
    piece = b'{"url":"' + b"A" * (MEGABYTE - 12) + b'"},\n'
    tail = b'{}], "usage": {"prompt_tokens": 7, "completion_tokens": 9}}'
    count = 200

    async def script(line: Line) -> None:
        while True:
            await line.request()
            size = len(b'{"data":[') + count * len(piece) + len(tail)
            await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size, b'{"data":[')
            for _ in range(count):
                await line.send(piece)
            await line.send(tail)

    async def main() -> None:
        async with scripted(script) as upstream:
            toml = f"""
                starter.enabled = false
                [[upstream]]
                name = "far"
                base_url = "http://127.0.0.1:{upstream.port}"
                models = ["m"]
            """
            with ExitStack() as stack:
                gate = await asyncio.to_thread(stack.enter_context, open_gate(tmp_path, toml))
                client = Client(*await asyncio.open_connection("127.0.0.1", gate.port), keep=False)
                before = resident_bytes(gate.process.pid)
                await client.ask(key=gate.key)
                assert (await client.head()).status_code == 200
                got, most = 0, before
                while (data := await client.piece()) is not None:
                    if got // (10 * MEGABYTE) != (got + len(data)) // (10 * MEGABYTE):
                        most = max(most, await asyncio.to_thread(resident_bytes, gate.process.pid))
                    got += len(data)
                assert got > count * MEGABYTE
                assert most - before < 16 * MEGABYTE
                client.hang_up()
                await asyncio.to_thread(gate.stop)
            [closes] = outcomes(sound(tmp_path / "data" / "journal")).values()
            assert [(end.outcome, end.usage) for end in closes] == [
                (Outcome.OK, Usage(Source.REPORTED, 7, 0, 9))
            ]

    run(main(), timeout_s=120)


def test_a_slow_reader_pauses_its_upstream(tmp_path: Path) -> None:
    sent = 0
    block = b" " * 65_536

    async def script(line: Line) -> None:
        nonlocal sent
        await line.request()
        size = 64 * MEGABYTE
        await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (size + 2), b"{")
        while sent < size:
            await line.send(block)
            sent += len(block)
        await line.send(b"}")
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask()
            await client.head()
            # Nobody reads: what is on its way fills buffers, and then the upstream stands still.
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.3)
            assert WHOLE_BYTES < sent < 32 * MEGABYTE
            body = await client.rest()
            assert len(body) == 64 * MEGABYTE + 2

    run(main())


def test_a_large_reply_that_breaks_off_has_no_end(tmp_path: Path) -> None:
    body = body_of(3 * MEGABYTE)

    async def script(line: Line) -> None:
        await line.request()
        await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body), body[: 2 * MEGABYTE])

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask()
            assert (await client.head()).status_code == 200
            with pytest.raises(h11.RemoteProtocolError, match="without sending complete message body"):
                await client.rest()
            assert b"error" not in client.received
            [closed] = await gate.settled()
            assert (closed.outcome, closed.status) == (Outcome.FAILED, 200)

    run(main())


def test_stopping_in_the_middle_of_a_large_reply_adds_nothing_to_it(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.request()
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        await line.send(head, chunk(b'{"a":"' + b" " * 2 * MEGABYTE))
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask()
            await client.head()
            await gate.server.stop(0.0)
            with pytest.raises(h11.RemoteProtocolError):
                await client.rest()
            assert b"error" not in client.received
            [closed] = await gate.settled()
            assert closed.outcome is Outcome.FAILED, "the client did not leave"

    run(main())


BROKEN = {
    "an empty body": whole(b""),
    "a page of HTML": whole(b"<html><body>nginx at http://10.0.0.1/</body></html>"),
    "JSON cut short": whole(b'{"choices":[{"message"'),
    "more than JSON": whole(b"{}{}"),
    "a list": whole(b"[]"),
    "a stream that nobody asked for": STREAM + chunk(b"data: {}\n\n") + LAST,
    "gzip that nobody asked for": whole(gzip.compress(answer()), "200 OK", "content-encoding: gzip"),
    "an error with status 200": whole(
        b'{"error":{"message":"sk-of-the-upstream-9876543210 is wrong","code":401}}'
    ),
    "nested too deep": whole(b'{"a":' * 100_000),
}


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
def test_what_is_no_answer_is_a_clean_502(tmp_path: Path, reply: bytes) -> None:
    async def script(line: Line) -> None:
        while True:
            await line.request()
            await line.send(reply)

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            for _ in range(2):  # and the client's connection goes on
                await client.ask()
                found = await client.answer()
                assert found.status == 502
                assert found.error["type"] == "api_error"
                assert found.error["code"] == "upstream_error"
                assert found.headers["x-should-retry"] == "false"
            ends = await gate.settled(2)
            assert [(closed.outcome, closed.status) for closed in ends] == [(Outcome.FAILED, 200)] * 2

    run(main())


def test_a_large_packed_reply_is_refused_before_it_flows(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.request()
        packed = b"\x1f\x8b" + bytes(2 * MEGABYTE)
        await line.send(whole(packed, "200 OK", "content-encoding: br"))
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            assert (await gate.call()).status == 502
            [closed] = await gate.settled()
            assert closed.outcome is Outcome.FAILED

    run(main())


def test_usage_that_is_missing_is_estimated(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(whole(b'{"choices":[{"message":{"content":"one two three"}}]}'))
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            assert (await gate.call()).status == 200
            [closed] = await gate.settled()
            assert closed.usage.source is Source.ESTIMATED
            assert closed.usage.output_tokens == 3
            assert closed.usage.input_tokens == 8, "Hi, and the frame that a conversation has"

    run(main())


class Doubling:
    """A dialect's translator: enough to see that whole replies go through it, and when."""

    def whole(self, body: bytes) -> bytes:
        return body.replace(b'"said"', b'"content"')

    def event(self, event: bytes) -> bytes:
        raise AssertionError("not a stream")

    def end(self) -> bytes:
        raise AssertionError("not a stream")


def test_a_reply_to_translate_is_kept_whole_but_not_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headgate.core.ports import Call, Outgoing
    from headgate.dialects.openai import OpenAI

    class Dialect(OpenAI):
        def request(self, call: Call) -> Outgoing:
            outgoing = super().request(call)
            outgoing.translator = Doubling()
            return outgoing

    monkeypatch.setattr(relay, "TRANSLATED_BYTES", 4 * MEGABYTE)
    sizes = [1000, 2 * MEGABYTE, 5 * MEGABYTE]

    async def script(line: Line) -> None:
        while sizes:
            await line.request()
            text = b"a" * sizes.pop(0)
            await line.send(whole(b'{"said":"%b","usage":{"prompt_tokens":1}}' % text))

    async def main() -> None:
        async with house(tmp_path, script, dialect=Dialect()) as gate:
            found = await gate.call()
            assert found.body.startswith(b'{"content":"a')
            found = await gate.call()
            assert len(found.body) > 2 * MEGABYTE
            assert found.body.startswith(b'{"content":"a')
            found = await gate.call()
            assert found.status == 502
            assert "too large" in found.error["message"]
            ends = await gate.settled(3)
            assert [closed.outcome for closed in ends] == [Outcome.OK, Outcome.OK, Outcome.FAILED]
            await until(lambda: gate.pool.open == gate.pool.idle)

    run(main())
