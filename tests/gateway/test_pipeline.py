"""The order of the verbs, seen from outside: what stops a request, and that nothing is left behind by any."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from headgate.core.errors import InternalError, InvalidField
from headgate.core.ports import Call, Outcome, Outgoing
from headgate.core.sse import MAX_EVENT_BYTES
from headgate.dialects.openai import OpenAI
from headgate.gateway.route import Models
from tests.backends.scripted import Line, until
from tests.conftest import run
from tests.gateway.house import (
    DONE,
    KEY,
    LAST,
    STREAM,
    House,
    answer,
    chunk,
    finished,
    house,
    said,
    usage,
    whole,
)


async def never(line: Line) -> None:
    raise AssertionError("the upstream was asked")


async def answering(line: Line) -> None:
    while True:
        await line.request()
        await line.send(whole(answer()))


BAD: list[tuple[bytes | dict[str, Any], int, str | None, str | None]] = [
    (b"", 400, None, None),
    (b"{not json", 400, None, None),
    (b"[]", 400, None, "invalid_type"),
    (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', 400, None, None),
    ({"model": None}, 400, "model", "invalid_type"),
    ({"messages": []}, 400, "messages", None),
    ({"temperature": 3}, 400, "temperature", "decimal_above_max_value"),
    ({"stream": "yes"}, 400, "stream", "invalid_type"),
    ({"model": "unknown"}, 404, None, "model_not_found"),
    ({"model": "m-upstream"}, 404, None, "model_not_found"),
    ({"model": "M"}, 404, None, "model_not_found"),
    ({"model": ""}, 404, None, "model_not_found"),
    ({"model": "x" * 5000}, 404, None, "model_not_found"),
    ({"model": "<script>"}, 404, None, "model_not_found"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("sent", "status", "param", "code"), BAD)
def test_what_is_wrong_is_refused_before_anything_is_spent(
    tmp_path: Path, sent: Any, status: int, param: str | None, code: str | None, stream: bool
) -> None:
    async def main() -> None:
        async with house(tmp_path, never) as gate:
            client = await gate.client()
            await (
                client.ask(body=sent) if isinstance(sent, bytes) else client.ask(**{"stream": stream, **sent})
            )
            found = await client.answer()
            assert found.status == status
            assert found.error["type"] == "invalid_request_error"
            assert found.error["param"] == param
            assert code is None or found.error["code"] == code
            assert len(found.body) < 500
            await client.ask(method="GET", path="/v1/models")
            assert (await client.answer()).status == 200
            assert gate.records() == []

    run(main())


def test_an_alias_is_sent_by_its_models_name(tmp_path: Path) -> None:
    seen = []

    async def script(line: Line) -> None:
        seen.append(json.loads((await line.request()).partition(b"\r\n\r\n")[2])["model"])
        await line.send(whole(answer()))
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            found = await gate.call(model="alias/of m")
            assert found.status == 200
            ChatCompletion.model_construct(**json.loads(found.body))
            [(opened, _)] = gate.records()
            assert (opened.model, opened.upstream_model) == ("alias/of m", "m-upstream")

    run(main())
    assert seen == ["m-upstream"]


def test_a_request_uses_the_models_it_began_with(tmp_path: Path) -> None:
    arrived, held = asyncio.Event(), asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(said("one")))
        arrived.set()
        await held.wait()
        await line.send(chunk(finished() + usage(1, 2) + DONE), LAST)
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            client = await gate.client()
            await client.ask(stream=True)
            await arrived.wait()
            gate.gate.models = Models({})
            assert (await gate.call()).status == 404
            held.set()
            assert (await client.answer()).body.endswith(DONE)

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_more_than_an_upstream_may_hold_is_told_when_to_come_back(tmp_path: Path, stream: bool) -> None:
    held = asyncio.Event()

    async def script(line: Line) -> None:
        while True:
            await line.request()
            await held.wait()
            await line.send(whole(answer()))

    async def main() -> None:
        async with house(tmp_path, script, max_in_flight=2) as gate:
            waiting = [await gate.client() for _ in range(2)]
            for client in waiting:
                await client.ask()
            await until(lambda: gate.in_flight == 2)
            for _ in range(3):
                found = await gate.call(stream)
                assert found.status == 429
                assert (found.error["type"], found.error["code"]) == ("requests", "rate_limit_exceeded")
                assert found.headers["retry-after"] == "1"
                assert found.headers["retry-after-ms"] == "1000"
                assert "x-should-retry" not in found.headers
            assert len(gate.records()) == 2, "what was refused was no attempt"
            held.set()
            for client in waiting:
                assert (await client.answer()).status == 200
            assert (await gate.call()).status == 200

    run(main())


def test_a_client_that_leaves_gives_its_place_back(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script, max_in_flight=1) as gate:
            for turn in range(1, 4):
                client = await gate.client()
                await client.ask(stream=bool(turn % 2))
                await until(lambda: gate.in_flight == 1)
                client.hang_up()
                await until(lambda: gate.in_flight == 0)
                await gate.settled(turn)

    run(main())


def test_what_a_dialect_cannot_do_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    class Narrow(OpenAI):
        def request(self, call: Call) -> Outgoing:
            raise InvalidField("No tools here.", param="tools", code="unsupported_parameter")

    async def main() -> None:
        async with house(tmp_path, never, dialect=Narrow()) as gate:
            found = await gate.call(stream=True)
            assert (found.status, found.error["param"]) == (400, "tools")
            assert gate.records() == []

    run(main())


class Faulty:
    """A translator with a fault of ours in it."""

    def whole(self, body: bytes) -> bytes:
        raise RuntimeError("at 127.0.0.1")

    def event(self, event: bytes) -> bytes:
        raise RuntimeError("at 127.0.0.1")

    def end(self) -> bytes:
        return b""


class Shouting:
    """A translator that changes every event, and adds one of its own to a stream without `[DONE]`."""

    def whole(self, body: bytes) -> bytes:
        return body

    def event(self, event: bytes) -> bytes:
        assert b'"usage"' not in event, "its own last words are handed in once more"
        return event.replace(b"hello", b"HELLO") if b"secret" not in event else b""

    def end(self) -> bytes:
        return finished() + usage(8, 9)


def speaking(translator: Any) -> OpenAI:
    class Dialect(OpenAI):
        def request(self, call: Call) -> Outgoing:
            outgoing = super().request(call)
            outgoing.translator = translator
            return outgoing

    return Dialect()


@pytest.mark.parametrize("stream", [False, True])
def test_a_fault_of_ours_is_a_clean_500(
    tmp_path: Path, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    reply = [STREAM, chunk(said("Hi")), LAST] if stream else [whole(answer())]

    async def script(line: Line) -> None:
        while True:
            await line.request()
            await line.send(*reply)

    async def main() -> None:
        async with house(tmp_path, script, dialect=speaking(Faulty())) as gate:
            found = await gate.call(stream)
            assert found.status == InternalError.status
            assert found.error["type"] == "server_error"
            assert "RuntimeError" not in found.error["message"]
            [closed] = await gate.settled()
            assert closed.outcome is Outcome.FAILED

    run(main())
    assert "RuntimeError" in caplog.text


def test_a_stream_is_translated_event_by_event(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(said("hello") + b": hello\n\n" + said("secret") + said("hel")), LAST)
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script, dialect=speaking(Shouting())) as gate:
            found = await gate.call(stream=True)
            assert found.body == said("HELLO") + b": HELLO\n\n" + said("hel") + finished() + DONE
            [closed] = await gate.settled()
            assert (closed.usage.input_tokens, closed.usage.output_tokens) == (8, 9)

    run(main())


def test_an_event_too_large_to_translate_is_never_passed_as_it_came(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(said("hello")), chunk(said("secret" * (MAX_EVENT_BYTES // 5))))
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script, dialect=speaking(Shouting())) as gate:
            found = await gate.call(stream=True)
            assert b"secret" not in found.body
            assert found.body.count(b'"error"') == 1
            [closed] = await gate.settled()
            assert closed.outcome is Outcome.FAILED

    run(main())


def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        while True:
            asked = json.loads((await line.request()).partition(b"\r\n\r\n")[2])
            await line.send(whole(answer(asked["user"])))

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            for turn in range(5):
                body = json.dumps(
                    {"model": "m", "messages": [{"role": "user", "content": "a"}], "user": f"u{turn}"}
                )
                head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
                head += f"authorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write((head + body).encode())
            found = b""
            while found.count(b'"usage"') < 5:
                found += await reader.read(65_536)
            writer.close()
            assert [found.index(b'"u%d"' % turn) for turn in range(5)] == sorted(
                found.index(b'"u%d"' % turn) for turn in range(5)
            )
            await gate.settled(5)

    run(main())


def test_a_storm_of_impatient_clients_leaves_nothing_behind(tmp_path: Path) -> None:
    """Hang-ups at every stage at once; the house judges what is left."""

    async def script(line: Line) -> None:
        while not line.writer.is_closing():
            asked = await line.request()
            await asyncio.sleep(0)
            if b'"stream":true' in asked or b'"stream": true' in asked:
                await line.send(STREAM)
                for _ in range(20):
                    await asyncio.sleep(0.001)
                    if line.writer.is_closing():
                        return
                    await line.send(chunk(said("word ")))
                await line.send(chunk(finished() + usage(1, 2) + DONE), LAST)
            else:
                await asyncio.sleep(0.005)
                if line.writer.is_closing():
                    return
                await line.send(whole(answer()))

    async def one(gate: House, number: int) -> None:
        client = await gate.client()
        await client.ask(stream=bool(number % 3))
        if number % 4:
            await asyncio.sleep(number % 7 * 0.003)  # a different stage for each
            client.abort() if number % 2 else client.hang_up()
        else:
            assert (await client.answer()).status == 200

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            for _ in range(3):
                await asyncio.gather(*(one(gate, number) for number in range(60)))
            await until(lambda: gate.in_flight == 0)
            ends = [closed for _, closed in gate.records()]
            assert all(len(closed) == 1 for closed in ends)
            assert {closed[0].outcome for closed in ends} <= {Outcome.OK, Outcome.CLIENT_GONE}
            assert sum(closed[0].outcome is Outcome.OK for closed in ends) >= 45

    run(main())
