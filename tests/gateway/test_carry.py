"""Heavy bodies: the upstream sees what the plain way sends, errors are the same, memory holds them once."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from headgate.core.body import open_body
from headgate.core.chat import ChatRequest
from headgate.core.cut import CutBody, WholeBodyNeeded
from headgate.core.errors import ApiError, InvalidField
from headgate.core.picture_tokens import UNSEEN_TOKENS
from headgate.core.ports import Call, Dialect, Exchange, Outcome, Outgoing
from headgate.core.usage import Source
from headgate.dialects.anthropic import Anthropic
from headgate.dialects.llamacpp import LlamaCpp
from headgate.dialects.openai import OpenAI
from headgate.endpoints import CHAT_COMPLETIONS
from headgate.gateway.carry import HEAVY_BYTES, STEP_BYTES, read_cut
from tests.backends.scripted import Line, scripted
from tests.conftest import run
from tests.gates import RunningGate
from tests.gateway.house import DONE, KEY, LAST, STREAM, answer, chunk, finished, house, said, usage, whole

NOISE = base64.b64encode(random.Random(5).randbytes(1_500_000)).decode()
"""Two million letters."""
MARK = re.compile(rb"\+/[0-9a-f]{40}/\+")
"""What a stand-in looks like."""


def picture(data: str = NOISE, kind: str = "image/png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}


def chat(*parts: dict[str, Any], **fields: Any) -> bytes:
    content = [{"type": "text", "text": "What is this?"}, *parts]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    return json.dumps({"model": "m", "messages": messages} | fields).encode()


def sent_plainly(body: bytes, dialect: Dialect) -> bytes:
    """What goes upstream for a body that nothing was cut out of; raises ApiError."""
    request, fields = open_body(body, ChatRequest)
    stream = request.stream is True
    call = Call(CHAT_COMPLETIONS, request, fields, stream, False, "m-upstream", pictures_at_hand=True)
    return dialect.request(call).body


def plainly(body: bytes, dialect: Dialect) -> bytes | ApiError:
    """The same, or the error that the client is told."""
    try:
        return sent_plainly(body, dialect)
    except ApiError as error:
        return error


class Listening:
    """An upstream that keeps the bodies it is sent, and answers well."""

    def __init__(self, *reply: bytes) -> None:
        self.bodies: list[bytes] = []
        self._reply = reply or (whole(answer()),)

    async def script(self, line: Line) -> None:
        while True:
            head, _, body = (await line.request()).partition(b"\r\n\r\n")
            assert b"content-length: %d" % len(body) in head
            self.bodies.append(body)
            await line.send(*self._reply)


def exchanged(
    folder: Path, body: bytes, dialect: Dialect, headers: list[tuple[str, str]], reply: tuple[bytes, ...]
) -> tuple[int, bytes, list[bytes]]:
    """Status and body of the gate's reply, and the bodies that reached the upstream."""
    upstream = Listening(*reply)

    async def main() -> tuple[int, bytes]:
        async with house(folder, upstream.script, dialect=dialect) as gate:
            found = await gate.call(body=body, headers=headers)
            assert not MARK.search(found.body)
            return found.status, found.body

    return *run(main()), upstream.bodies


PACKED = ("content-encoding", "gzip")
GOOD_BODIES = {
    "one picture": chat(picture()),
    "a small one as well": chat(picture(NOISE[:30_000]), picture(NOISE[7:]), picture("iVBORw0KGgo=")),
    "twenty": chat(*[picture(NOISE[number : number + 100_000]) for number in range(20)]),
    "the same one twice": chat(picture(), picture()),
    "streamed": chat(picture(), stream=True),
    "padded": chat(picture(NOISE[:-1] + "="), picture(NOISE[:-2] + "==")),
}


@pytest.mark.parametrize("headers", [[], [PACKED]], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "dialect", [OpenAI(), LlamaCpp(images=True), Anthropic()], ids=["openai", "llamacpp", "anthropic"]
)
@pytest.mark.parametrize("body", GOOD_BODIES.values(), ids=GOOD_BODIES)
def test_the_upstream_sees_what_the_plain_way_sends(
    tmp_path: Path, body: bytes, dialect: Dialect, headers: list[tuple[str, str]]
) -> None:
    reply: tuple[bytes, ...] = ()
    if isinstance(dialect, Anthropic):
        body = body.replace(b', "stream": true', b"")  # its streams are judged with its dialect
        reply = (whole(b'{"type":"message","content":[],"stop_reason":"end_turn"}'),)
    elif json.loads(body).get("stream"):
        reply = (STREAM, chunk(said("Hi") + finished() + usage(1, 2) + DONE), LAST)
    wire = gzip.compress(body, 1) if headers else body
    status, _, bodies = exchanged(tmp_path, wire, dialect, headers, reply)
    assert status == 200
    assert bodies == [sent_plainly(body, dialect)]


ODD_BODIES = {
    "text": chat(content := {"type": "text", "text": "a, b; c.\n" * 200_000}),
    "slashes escaped": chat(picture(NOISE)).replace(b"/", b"\\/"),
    "lines": chat(picture(NOISE.replace("A", "A\n"))),
    "padding in the middle": chat(picture(NOISE + "==" + NOISE)),
    "a long name": chat(picture() | {NOISE: 1}),
    "outside of messages": chat(content, vendor={"picture": NOISE}),
    "a call's arguments": chat(picture(), functions=[{"name": "f", "description": NOISE}]),
}


@pytest.mark.parametrize("body", ODD_BODIES.values(), ids=ODD_BODIES)
def test_what_cannot_be_cut_goes_the_plain_way(tmp_path: Path, body: bytes) -> None:
    status, _, bodies = exchanged(tmp_path, body, OpenAI(), [], ())
    assert status == 200
    assert bodies == [sent_plainly(body, OpenAI())]


def test_a_document_that_the_dialect_reads_itself_is_read_whole(tmp_path: Path) -> None:
    words = "Some words, again and again. " * 40_000
    data = base64.b64encode(words.encode()).decode()
    document = {"type": "file", "file": {"file_data": f"data:text/plain;base64,{data}"}}
    body = chat(document, picture())
    reply = (whole(b'{"type":"message","content":[],"stop_reason":"end_turn"}'),)
    status, _, bodies = exchanged(tmp_path, body, Anthropic(), [], reply)
    assert status == 200
    assert bodies == [sent_plainly(body, Anthropic())]
    assert words.encode() in bodies[0]


class Reader(OpenAI):
    """A dialect that has to see pictures."""

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def request(self, call: Call) -> Outgoing:
        self.asked.append(call.abridged)
        if call.abridged:
            raise WholeBodyNeeded
        assert NOISE.encode() in bytes(call.fields["messages"])
        return super().request(call)


def test_a_dialect_may_ask_for_the_whole_body(tmp_path: Path) -> None:
    dialect = Reader()
    _, _, bodies = exchanged(tmp_path, chat(picture()), dialect, [], ())
    assert dialect.asked == [True, False]
    assert bodies == [sent_plainly(chat(picture()), OpenAI())]


class Deaf(OpenAI):
    """A dialect that leaves pictures out."""

    def request(self, call: Call) -> Outgoing:
        outgoing = super().request(call)
        outgoing.body = re.sub(rb"base64,[^\"]*", b"base64,", outgoing.body)
        return outgoing


def test_a_picture_that_the_dialect_leaves_out_stays_out(tmp_path: Path) -> None:
    _, _, bodies = exchanged(tmp_path, chat(picture(), user="me"), Deaf(), [], ())
    assert bodies == [sent_plainly(chat(picture(""), user="me"), OpenAI())]


# --- errors -----------------------------------------------------------------------------------------

BAD_BODIES = {
    "cut short": chat(picture())[:-2],
    "cut short in the picture": chat(picture())[:1_500_000],
    "something behind": chat(picture()) + b"x",
    "a bad escape before": chat(picture()).replace(b"base64,", b"base64\\"),
    "half an escape": chat(picture()).replace(b"base64,", b"\\u00"),
    "not UTF-8": chat(picture()).replace(b"What", b"Wh\xfft"),
    "a number without end": chat(picture(), seed=1).replace(b'"seed": 1', b'"seed": ' + b"1" * 600_000),
    "a wrong type": chat(picture(), temperature="hot"),
    "a long metadata value": chat(picture(), metadata={"a": NOISE}),
    "a long function's name": chat(picture(), functions=[{"name": NOISE}]),
    "a role": chat(picture()).replace(b'"user"', f'"{NOISE}"'.encode()),
    "too many values": chat(picture(), vendor=[0] * 1_000_001),
}


@pytest.mark.parametrize("dialect", [OpenAI(), LlamaCpp(images=True)], ids=["openai", "llamacpp"])
@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_errors_are_those_of_the_plain_way(tmp_path: Path, body: bytes, dialect: Dialect) -> None:
    status, found, bodies = exchanged(tmp_path, body, dialect, [], ())
    expected = plainly(body, dialect)
    if isinstance(expected, ApiError):
        assert (status, found, bodies) == (expected.status, expected.body(), [])
    else:
        assert (status, bodies) == (200, [expected])


def test_a_model_that_reads_only_text_refuses_in_the_usual_words(tmp_path: Path) -> None:
    body = chat(picture())
    with pytest.raises(InvalidField) as caught:
        sent_plainly(body, LlamaCpp())
    assert exchanged(tmp_path, body, LlamaCpp(), [], ())[:2] == (400, caught.value.body())


def test_an_unknown_model_is_named_as_the_client_named_it(tmp_path: Path) -> None:
    status, found, bodies = exchanged(tmp_path, chat(picture(), model=NOISE), OpenAI(), [], ())
    assert status == 404
    assert f"'{NOISE[:100]}…'" in json.loads(found)["error"]["message"]
    assert not bodies


# --- what else knows of the body ----------------------------------------------------------------------


def test_a_prompt_is_estimated_by_its_words_and_the_size_of_its_pictures(tmp_path: Path) -> None:
    body = chat(picture())

    async def main() -> None:
        reply = json.dumps({"choices": [{"index": 0, "message": {"content": "Hi"}}]}).encode()
        async with house(tmp_path, Listening(whole(reply)).script) as gate:
            await gate.call(body=body)
            [closed] = await gate.settled()
            assert closed.usage.source is Source.ESTIMATED
            assert UNSEEN_TOKENS < closed.usage.input_tokens < UNSEEN_TOKENS + 50

    run(main())


def test_a_dead_connection_is_followed_by_the_whole_body_again(tmp_path: Path) -> None:
    upstream = Listening()
    bodies: list[bytes] = []

    async def script(line: Line) -> None:
        if bodies:
            await upstream.script(line)
        bodies.append((await line.request()).partition(b"\r\n\r\n")[2])
        await line.send(whole(answer()))
        await line.request()  # is read, and never answered

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            for body in (chat(), chat(picture())):
                await client.ask(body=body)
                assert (await client.answer()).status == 200
            ends = await gate.settled(3)
            assert [end.outcome for end in ends] == [Outcome.OK, Outcome.UNKNOWN, Outcome.OK]

    run(main())
    assert upstream.bodies == [sent_plainly(chat(picture()), OpenAI())]


def test_a_client_that_leaves_in_the_middle_harms_nobody(tmp_path: Path) -> None:
    upstream = Listening()

    async def main() -> None:
        async with house(tmp_path, upstream.script) as gate:
            stayer = await gate.client()
            _, half = await asyncio.open_connection("127.0.0.1", gate.port)
            body = chat(picture())
            half.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer %b\r\n"
                b"content-length: %d\r\n\r\n%b" % (KEY.encode(), len(body), body[:1_200_000])
            )
            await half.drain()
            half.close()
            await half.wait_closed()
            await stayer.ask(body=chat(picture()))
            assert (await stayer.answer()).status == 200
            assert len(await gate.settled()) == 1

    run(main())
    assert len(upstream.bodies) == 1


# --- turns of the loop --------------------------------------------------------------------------------


class AtHand:
    """A body that has all arrived."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def body(self, enough_bytes: int = 1 << 60) -> bytes:
        taken, self._body = self._body[: enough_bytes + 1], self._body[enough_bytes + 1 :]
        return taken


@pytest.mark.parametrize("body", [chat(picture(), picture()), b"\x00" * 4_000_000])
def test_others_have_a_turn_after_every_step(body: bytes) -> None:
    async def main() -> None:
        exchange = AtHand(body)
        reading = asyncio.ensure_future(read_cut(cast(Exchange, exchange), await exchange.body(HEAVY_BYTES)))
        turns = 0
        while not reading.done():
            await asyncio.sleep(0)
            turns += 1
        found = reading.result()
        assert (found.whole() if isinstance(found, CutBody) else found) == body
        assert turns > len(body) // (STEP_BYTES + 1)

    run(main())


# --- a real gate --------------------------------------------------------------------------------------

BIG_BYTES = 20_000_000
ROUNDS = 20
GROWTH_BYTES = 64 << 20
"""The body once, and what sockets, the loop and the allocator hold of it in passing."""
FLAT_BYTES = 16 << 20
"""The allocator may keep some pages more after one body than after another."""


def memory_bytes(gate: RunningGate, line: str) -> int:
    text = Path(f"/proc/{gate.process.pid}/status").read_text("ascii")
    found = re.search(rf"^{line}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from Linux's /proc")
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_twenty_megabytes_pass_a_real_gate_twenty_times(
    start_gate: Callable[..., RunningGate], coding: str
) -> None:
    body = chat(picture((NOISE * (BIG_BYTES // len(NOISE) + 1))[:BIG_BYTES]))
    wire = gzip.compress(body, 1) if coding == "gzip" else body
    expected = hashlib.sha256(sent_plainly(body, OpenAI())).hexdigest()
    digests: list[str] = []

    async def script(line: Line) -> None:
        while True:
            head = await line.reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"content-length: ([0-9]+)", head)
            assert found
            left, digest = int(found[1]), hashlib.sha256()
            while left:
                piece = await line.reader.read(min(left, 1 << 18))
                assert piece
                digest.update(piece)
                left -= len(piece)
            digests.append(digest.hexdigest())
            await line.send(whole(answer()))

    async def main() -> None:
        async with scripted(script) as upstream:
            gate = start_gate(
                f'[[upstream]]\nname = "far"\nbase_url = "http://127.0.0.1:{upstream.port}/v1"\n'
                'models = [{ name = "m", upstream_name = "m-upstream" }]\n'
            )
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            before_bytes = memory_bytes(gate, "VmRSS")
            Path(f"/proc/{gate.process.pid}/clear_refs").write_text("5")  # the peak is counted from here
            after_bytes = []
            for _ in range(ROUNDS):
                writer.write(
                    b"POST /v1/chat/completions HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer %b\r\n"
                    b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n"
                    % (gate.key.encode(), coding.encode(), len(wire))
                )
                writer.write(wire)
                await writer.drain()
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200"), head
                length = re.search(rb"content-length: ([0-9]+)", head)
                assert length
                await reader.readexactly(int(length[1]))
                after_bytes.append(memory_bytes(gate, "VmRSS"))
            peak_bytes = memory_bytes(gate, "VmHWM")
            writer.close()
            gate.stop()
            assert digests == [expected] * ROUNDS
            assert peak_bytes - before_bytes < GROWTH_BYTES
            assert after_bytes[-1] - max(after_bytes[:3]) < FLAT_BYTES

    run(main(), timeout_s=150)
