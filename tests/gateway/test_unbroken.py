"""The unbroken stream: an upstream dies in mid-answer, another goes on, and the client sees one answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from headgate.core.estimate import estimate_tokens
from headgate.core.ports import Outcome
from headgate.core.settings_routing import Routing
from headgate.core.usage import Source
from tests.backends.scripted import Line, Script
from tests.conftest import run
from tests.gateway.house import (
    DONE,
    LAST,
    ROLE,
    STREAM,
    Answer,
    chunk,
    errors_in,
    event,
    finished,
    said,
    usage,
)
from tests.gateway.test_persevere import failing, never
from tests.gateway.town import QUICK, Stead, town

OK, REFUSED, FAILED = Outcome.OK, Outcome.REFUSED, Outcome.FAILED

UNBROKEN = Routing(attempts=4, unbroken=True, backoff_ms=1, retry_burst=100)


def named(name: str, text: str | None = None, **delta: Any) -> bytes:
    """An event of the upstream of this name."""
    delta |= {"content": text} if text is not None else {}
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return event(id=f"chatcmpl-{name}", created=1, model=f"model-{name}", choices=[choice])


def dies_after(*events: bytes, name: str = "one") -> Script:
    """Says this, and breaks off."""

    async def script(line: Line) -> None:
        await line.request()
        await line.send(STREAM, *(chunk(one) for one in (named(name, "", role="assistant"), *events)))

    return script


class Successor:
    """An upstream that goes on: what it was asked, and what it answers."""

    def __init__(self, *events: bytes, name: str = "two") -> None:
        self.asked: list[dict[str, Any]] = []
        self._events = (named(name, "", role="assistant"), *events)
        self._name = name

    async def script(self, line: Line) -> None:
        while True:
            self.asked.append(json.loads((await line.request()).partition(b"\r\n\r\n")[2]))
            end = event(
                id=f"chatcmpl-{self._name}",
                choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}],
            )
            await line.send(STREAM, chunk(b"".join(self._events) + end + usage(12, 3) + DONE), LAST)

    def stead(self, way: str = "plain") -> Stead:
        return Stead(script=self.script, prefill_way=way)


def chunks(answer: Answer) -> list[dict[str, Any]]:
    """The chunks of a whole, well ended stream that is one answer."""
    assert answer.status == 200
    assert errors_in(answer.body) == []
    assert answer.body.endswith(DONE)
    assert answer.body.count(DONE) == 1
    lines = [one[6:] for one in answer.body.split(b"\n\n") if one.startswith(b"data: {")]
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    choices = [choice for one in found for choice in one["choices"]]
    assert len({one["id"] for one in found}) == 1
    assert [choice["delta"]["role"] for choice in choices if "role" in choice["delta"]] == ["assistant"]
    finishes = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    assert len(finishes) == 1
    return found


def text(found: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for one in found for choice in one["choices"])


def test_another_goes_on_and_it_is_one_answer(tmp_path: Path) -> None:
    successor = Successor(named("two", " world"), named("two", "!"))

    async def main() -> None:
        first = dies_after(named("one", "Hel"), named("one", "lo"))
        async with town(tmp_path, first, successor.stead(), rules=UNBROKEN) as gate:
            found = chunks(await gate.call(True, temperature=0.5))
            assert text(found) == "Hello world!"
            assert {one["id"] for one in found} == {"chatcmpl-one"}
            assert {one["model"] for one in found} == {"model-one"}
            assert await gate.went(2) == [("u1", FAILED), ("u2", OK)]
            (_, [dead]), (_, [alive]) = gate.records()
            assert (dead.usage.source, alive.usage.source) == (Source.PARTIAL, Source.REPORTED)
            assert dead.usage.output_tokens == estimate_tokens("Hello")
            assert (alive.usage.input_tokens, alive.usage.output_tokens) == (12, 3)

    run(main())
    [asked] = successor.asked
    assert asked["messages"] == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert (asked["model"], asked["temperature"], asked["stream"]) == ("m2", 0.5, True)


def test_the_clients_usage_is_that_of_one_answer(tmp_path: Path) -> None:
    successor = Successor(named("two", " world"))

    async def main() -> None:
        first = dies_after(named("one", "Hello"))
        async with town(tmp_path, first, successor.stead(), rules=UNBROKEN) as gate:
            found = chunks(await gate.call(True, stream_options={"include_usage": True}))
            told = found[-1]["usage"]
            tokens = estimate_tokens("Hello")
            assert told["prompt_tokens"] == 12 - tokens
            assert told["completion_tokens"] == 3 + tokens
            assert [one["usage"] for one in found if one.get("usage")] == [told]

    run(main())


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("continue_final_message", {"continue_final_message": True, "add_generation_prompt": False}),
        ("plain", {}),
    ],
)
def test_each_is_asked_in_its_own_way(tmp_path: Path, way: str, expected: dict[str, Any]) -> None:
    successor = Successor(named("two", " world"))

    async def main() -> None:
        first = dies_after(named("one", "Hello"))
        async with town(tmp_path, first, successor.stead(way), rules=UNBROKEN) as gate:
            chunks(await gate.call(True))

    run(main())
    [asked] = successor.asked
    assert {name: asked[name] for name in asked if name in expected} == expected
    assert ("continue_final_message" in asked) == bool(expected)


def test_it_may_die_more_than_once(tmp_path: Path) -> None:
    asked: list[Any] = []

    async def second(line: Line) -> None:
        asked.append(json.loads((await line.request()).partition(b"\r\n\r\n")[2])["messages"][-1])
        await line.send(STREAM, chunk(named("two", "", role="assistant") + named("two", " big")))

    successor = Successor(named("three", " world"), name="three")

    async def main() -> None:
        async with town(
            tmp_path,
            dies_after(named("one", "Hello")),
            Stead(script=second, prefill_way="plain"),
            successor.stead(),
            rules=UNBROKEN,
        ) as gate:
            assert text(chunks(await gate.call(True))) == "Hello big world"
            assert await gate.went(3) == [("u1", FAILED), ("u2", FAILED), ("u3", OK)]

    run(main())
    assert asked == [{"role": "assistant", "content": "Hello"}]
    assert successor.asked[0]["messages"][-1] == {"role": "assistant", "content": "Hello big"}


def test_who_cannot_go_on_is_passed_over(tmp_path: Path) -> None:
    successor = Successor(named("three", " world"), name="three")

    async def main() -> None:
        first = dies_after(named("one", "Hello"))
        async with town(tmp_path, first, never, successor.stead(), rules=UNBROKEN) as gate:
            assert text(chunks(await gate.call(True))) == "Hello world"
            assert await gate.went(2) == [("u1", FAILED), ("u3", OK)]

    run(main())


def test_who_refuses_to_is_passed_over_too(tmp_path: Path) -> None:
    no = b'{"error":{"message":"prefill is not supported","type":"invalid_request_error"}}'
    successor = Successor(named("three", " world"), name="three")

    async def main() -> None:
        async with town(
            tmp_path,
            dies_after(named("one", "Hello")),
            Stead(script=failing("400 No", no), prefill_way="plain"),
            successor.stead(),
            rules=UNBROKEN,
        ) as gate:
            assert text(chunks(await gate.call(True))) == "Hello world"
            assert await gate.went(3) == [("u1", FAILED), ("u2", REFUSED), ("u3", OK)]

    run(main())


def test_the_same_one_may_go_on_when_it_is_back(tmp_path: Path) -> None:
    lives = 0

    async def reborn(line: Line) -> None:
        nonlocal lives
        await line.request()
        lives += 1
        if lives == 1:
            await line.send(STREAM, chunk(named("one", "", role="assistant") + named("one", "Hello")))
            return
        await line.send(STREAM, chunk(named("one", " world") + finished() + DONE), LAST)
        await line.gone()

    async def main() -> None:
        async with town(tmp_path, Stead(script=reborn, prefill_way="plain"), rules=UNBROKEN) as gate:
            assert text(chunks(await gate.call(True))) == "Hello world"
            assert await gate.went(2) == [("u1", FAILED), ("u1", OK)]

    run(main())


CALL = {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f"}}]}


@pytest.mark.parametrize(
    ("events", "fields"),
    [
        ([named("one", "Hel"), named("one", None, **CALL)], {}),
        ([named("one", None, refusal="I can't")], {}),
        ([named("one", "Hel")], {"n": 2}),
        ([named("one", "{")], {"response_format": {"type": "json_object"}}),
        ([b'data: {"id":"x","choices":[{"index":1,"delta":{"content":"b"}}]}\n\n'], {}),
    ],
)
def test_where_nobody_can_go_on_it_is_an_error_in_the_stream(
    tmp_path: Path, events: list[bytes], fields: dict[str, Any]
) -> None:
    async def main() -> None:
        first = dies_after(*events)
        async with town(tmp_path, first, Stead(script=never, prefill_way="plain"), rules=UNBROKEN) as gate:
            found = await gate.call(True, **fields)
            [error] = errors_in(found.body)
            assert error["code"] == "upstream_error"
            assert not found.body.endswith(DONE)
            assert await gate.went(1) == [("u1", FAILED)]

    run(main())


def test_it_is_the_operators_choice(tmp_path: Path) -> None:
    async def main() -> None:
        first = dies_after(named("one", "Hel"))
        async with town(tmp_path, first, Stead(script=never, prefill_way="plain"), rules=QUICK) as gate:
            assert len(errors_in((await gate.call(True)).body)) == 1

    run(main())


def test_when_nobody_else_is_there_the_first_error_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with town(
            tmp_path,
            dies_after(named("one", "Hel")),
            Stead(script=failing("429 Slow", b"{}", "retry-after: 60"), prefill_way="plain"),
            rules=UNBROKEN,
        ) as gate:
            found = await gate.call(True)
            [error] = errors_in(found.body)
            assert error["message"] == "The upstream closed the connection before its reply was complete."
            assert found.body.count(b"data: ") == 3

    run(main())


def test_reasoning_is_seen_once(tmp_path: Path) -> None:
    thinking = dies_after(named("one", None, reasoning_content="Let me see."))
    successor = Successor(
        named("two", None, reasoning_content="Hm. "), named("two", "Hello"), named("two", " world")
    )

    async def main() -> None:
        async with town(tmp_path, thinking, successor.stead(), rules=UNBROKEN) as gate:
            found = chunks(await gate.call(True))
            assert text(found) == "Hello world"
            thoughts = [
                choice["delta"]["reasoning_content"]
                for one in found
                for choice in one["choices"]
                if "reasoning_content" in choice["delta"]
            ]
            assert thoughts == ["Let me see."]

    run(main())
    assert successor.asked[0]["messages"] == [{"role": "user", "content": "Hi"}]


def test_an_answer_that_was_long_enough_is_ended(tmp_path: Path) -> None:
    async def main() -> None:
        first = dies_after(named("one", "one two three"))
        async with town(tmp_path, first, Stead(script=never, prefill_way="plain"), rules=UNBROKEN) as gate:
            found = chunks(await gate.call(True, max_tokens=3))
            assert text(found) == "one two three"
            assert found[-1]["choices"][0]["finish_reason"] == "length"

    run(main())


def test_what_is_left_of_the_limit_is_asked_for(tmp_path: Path) -> None:
    successor = Successor(named("two", " four"))

    async def main() -> None:
        first = dies_after(named("one", "one two three"))
        async with town(tmp_path, first, successor.stead(), rules=UNBROKEN) as gate:
            chunks(await gate.call(True, max_completion_tokens=10))

    run(main())
    assert successor.asked[0]["max_completion_tokens"] == 7


def test_a_heavy_request_is_gone_on_with_whole(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * 300_000}}
    successor = Successor(named("two", " world"))

    async def main() -> None:
        first = dies_after(named("one", "Hello"))
        async with town(tmp_path, first, successor.stead(), rules=UNBROKEN) as gate:
            found = await gate.call(True, messages=[{"role": "user", "content": [picture]}])
            assert text(chunks(found)) == "Hello world"

    run(main())
    user, begun = successor.asked[0]["messages"]
    assert user["content"] == [picture]
    assert begun == {"role": "assistant", "content": "Hello"}


def test_a_client_that_left_needs_no_answer(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def first(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(ROLE + said("Hel")))
        await held.wait()

    async def main() -> None:
        async with town(tmp_path, first, Stead(script=never, prefill_way="plain"), rules=UNBROKEN) as gate:
            client = await gate.client()
            await client.ask(True)
            await client.head()
            await client.until(b"\n\n")
            client.hang_up()
            assert await gate.went(1) == [("u1", Outcome.CLIENT_GONE)]
            held.set()

    run(main())
