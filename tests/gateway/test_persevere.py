"""A request between upstreams: the next one at once, the same one after a wait; what clients never see."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from headgate.core.ports import Outcome
from headgate.core.settings_routing import Health, Routing
from headgate.gateway.places import Places
from headgate.gateway.stream import Pace
from tests.backends.scripted import Line, Script, until
from tests.conftest import run
from tests.gateway.house import (
    DONE,
    LAST,
    ROLE,
    STREAM,
    answer,
    chunk,
    errors_in,
    event,
    finished,
    said,
    sending,
    usage,
    whole,
)
from tests.gateway.town import Stead, town

OK, REFUSED, FAILED, SUPERSEDED = Outcome.OK, Outcome.REFUSED, Outcome.FAILED, Outcome.SUPERSEDED

GOOD_STREAM = [STREAM, chunk(ROLE + said("Hello") + finished() + usage(5, 1) + DONE), LAST]
GOOD = whole(answer("Hello"))


def good(stream: bool) -> Script:
    return sending(*(GOOD_STREAM if stream else [GOOD]))


async def never(line: Line) -> None:
    raise AssertionError("this upstream was asked")


async def resets(line: Line) -> None:
    await line.request()
    line.reset()


async def half_a_head(line: Line) -> None:
    await line.request()
    await line.send(b"HTTP/1.1 200 OK\r\ncont")


async def garbage(line: Line) -> None:
    await line.request()
    await line.send(b"SSH-2.0-OpenSSH_9.2\r\n")


async def quiet(line: Line) -> None:
    await line.gone()


def failing(status: str, body: bytes = b"{}", *lines: str) -> Script:
    return sending(whole(body, status, *lines))


TOO_LONG = b'{"error":{"message":"too long","code":"context_length_exceeded"}}'
USED_UP = b'{"error":{"message":"pay","code":"insufficient_quota"}}'

ELSEWHERE: dict[str, tuple[Script, Outcome]] = {
    "reset": (resets, FAILED),
    "half a head": (half_a_head, FAILED),
    "garbage": (garbage, FAILED),
    "401": (failing("401 No"), FAILED),
    "403": (failing("403 No"), FAILED),
    "404 route": (failing("404 No", b"<html>"), FAILED),
    "408": (failing("408 Slow"), FAILED),
    "409": (failing("409 Busy"), REFUSED),
    "429": (failing("429 Slow down"), REFUSED),
    "429 used up": (failing("429 Pay", USED_UP), FAILED),
    "500": (failing("500 Oh"), FAILED),
    "502": (failing("502 Oh"), FAILED),
    "503": (failing("503 Oh", b"", "retry-after: 60"), FAILED),
    "529": (failing("529 Oh"), FAILED),
    "redirect": (failing("307 There"), FAILED),
    "too long": (failing("400 No", TOO_LONG), REFUSED),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("what", ELSEWHERE)
def test_when_one_stumbles_the_next_answers_and_nobody_notices(
    tmp_path: Path, what: str, stream: bool
) -> None:
    script, outcome = ELSEWHERE[what]

    async def main() -> None:
        async with town(tmp_path, script, good(stream)) as gate:
            found = await gate.call(stream)
            assert found.status == 200
            assert b"Hello" in found.body
            assert errors_in(found.body) == []
            assert await gate.went(2) == [("u1", outcome), ("u2", OK)]
            first, second = gate.records()
            assert first[0].request_id == second[0].request_id == found.headers["x-request-id"]
            assert (first[0].upstream_model, second[0].upstream_model) == ("m1", "m2")
            assert "x-headgate-upstream" not in found.headers
            assert "x-headgate-attempts" not in found.headers

    run(main())


CLIENTS = {
    "400": (failing("400 No", b'{"error":{"message":"Wrong","param":"n"}}'), 400),
    "404 model": (failing("404 No", b'{"error":{"code":"model_not_found","message":"No"}}'), 200),
    "413": (failing("413 Large"), 413),
    "422": (failing("422 Hm"), 400),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("what", ["400", "413", "422"])
def test_the_clients_own_mistakes_are_told_at_once(tmp_path: Path, what: str, stream: bool) -> None:
    script, status = CLIENTS[what]

    async def main() -> None:
        async with town(tmp_path, script, never) as gate:
            found = await gate.call(stream)
            assert found.status == status
            assert await gate.went(1) == [("u1", REFUSED)]
            assert gate.targets[0].health.fit

    run(main())


IN_STREAM = {
    "nothing": b"",
    "a comment": chunk(b": hi\n\n"),
    "a role": chunk(ROLE),
    "half an event": chunk(b'data: {"id"'),
    "an error": chunk(event(error={"message": "overloaded", "code": "overloaded"})),
    "a role and an error": chunk(ROLE) + chunk(event(error={"message": "overloaded"})),
}


@pytest.mark.parametrize("what", IN_STREAM)
def test_until_something_was_said_a_stream_can_begin_anew(tmp_path: Path, what: str) -> None:
    async def dies(line: Line) -> None:
        await line.request()
        await line.send(STREAM, IN_STREAM[what])

    async def main() -> None:
        async with town(tmp_path, dies, good(True)) as gate:
            found = await gate.call(True)
            assert found.status == 200
            events = [json.loads(one[6:]) for one in found.body.split(b"\n\n") if one.startswith(b"data: {")]
            deltas = [choice["delta"] for one in events for choice in one["choices"]]
            assert [delta.get("role") for delta in deltas if "role" in delta] == ["assistant"]
            assert "".join(delta.get("content") or "" for delta in deltas) == "Hello"
            assert found.body.endswith(DONE)
            assert len({one["id"] for one in events}) == 1
            assert await gate.went(2) == [("u1", FAILED), ("u2", OK)]

    run(main())


def test_after_that_it_is_an_error_in_the_stream(tmp_path: Path) -> None:
    async def dies(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(ROLE + said("Hel")))

    async def main() -> None:
        async with town(tmp_path, dies, never) as gate:
            found = await gate.call(True)
            assert found.status == 200
            [error] = errors_in(found.body)
            assert error["code"] == "upstream_error"
            assert not found.body.endswith(DONE)
            assert await gate.went(1) == [("u1", FAILED)]

    run(main())


def test_comments_may_have_gone_out_before(tmp_path: Path) -> None:
    async def slow(line: Line) -> None:
        await line.request()
        await asked.wait()
        await line.send(whole(b"{}", "500 Oh"))

    asked = asyncio.Event()

    async def main() -> None:
        async with town(tmp_path, slow, good(True), pace=Pace(1, 1)) as gate:
            client = await gate.client()
            await client.ask(True)
            head = await client.head()
            assert head.status_code == 200
            await client.until(b": waiting\n\n")
            asked.set()
            rest = await client.rest()
            assert b"Hello" in rest
            assert rest.endswith(DONE)
            assert errors_in(rest) == []
            assert await gate.went(2) == [("u1", FAILED), ("u2", OK)]

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_one_is_asked_again_after_a_wait(tmp_path: Path, stream: bool) -> None:
    replies = [[whole(b"{}", "500 Oh")], [whole(b"{}", "503 Oh")], GOOD_STREAM if stream else [GOOD]]

    async def recovering(line: Line) -> None:
        while replies:
            await line.request()
            await line.send(*replies.pop(0))
        await line.gone()

    async def main() -> None:
        async with town(tmp_path, recovering) as gate:
            found = await gate.call(stream)
            assert found.status == 200
            assert b"Hello" in found.body
            assert [outcome for _, outcome in await gate.went(3)] == [FAILED, FAILED, OK]

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_when_nothing_helps_the_client_is_told_not_to_repeat_it(tmp_path: Path, stream: bool) -> None:
    async def main() -> None:
        async with town(tmp_path, failing("500 Oh"), failing("502 Oh")) as gate:
            found = await gate.call(stream)
            assert found.status == 502
            assert found.error["code"] == "upstream_error"
            assert found.headers["x-should-retry"] == "false"
            went = await gate.went(4)
            assert {name for name, _ in went} == {"u1", "u2"}

    run(main())


def test_no_more_than_the_budget_is_asked_again(tmp_path: Path) -> None:
    rules = Routing(attempts=4, backoff_ms=1, retry_burst=3, retry_budget_percent=0)

    async def main() -> None:
        calm = Health(failures=1000, error_requests=1000)
        async with town(tmp_path, failing("500 Oh"), rules=rules, health=calm) as gate:
            for _ in range(10):
                assert (await gate.call()).status == 502
            assert len(await gate.went(13)) == 13

    run(main())


def test_an_open_breaker_spares_the_one_that_is_down(tmp_path: Path) -> None:
    async def main() -> None:
        async with town(tmp_path, failing("500 Oh"), good(False), health=Health(failures=3)) as gate:
            for _ in range(10):
                assert (await gate.call()).status == 200
            went = [name for name, _ in await gate.went(13)]
            assert went.count("u1") == 3
            assert went[-7:] == ["u2"] * 7

    run(main())


def test_when_all_are_down_nobody_is_hammered(tmp_path: Path) -> None:
    async def main() -> None:
        rules = Routing(attempts=2, backoff_ms=1)
        async with town(tmp_path, failing("500 Oh"), rules=rules, health=Health(failures=2)) as gate:
            statuses = [(await gate.call()).status for _ in range(8)]
            assert statuses == [502] + [503] * 7
            assert len(await gate.went(2)) == 2
            found = await gate.call()
            assert found.error["code"] == "upstream_unavailable"
            assert "x-should-retry" not in found.headers, "nothing was tried for it"
            assert int(found.headers["retry-after"]) >= 1

    run(main())


def test_it_is_probed_and_comes_back(tmp_path: Path) -> None:
    replies = [whole(b"{}", "500 Oh")] * 2 + [GOOD] * 5

    async def recovering(line: Line) -> None:
        while True:
            await line.request()
            await line.send(replies.pop(0))

    async def main() -> None:
        rules, health = Routing(attempts=1), Health(failures=2, open_ms=1)
        async with town(tmp_path, recovering, rules=rules, health=health) as gate:
            assert [(await gate.call()).status for _ in range(2)] == [502, 502]
            await asyncio.sleep(0.002)  # the breaker's own time, not a wait for somebody
            assert [(await gate.call()).status for _ in range(3)] == [200, 200, 200]
            assert gate.targets[0].health.fit

    run(main())


def test_who_asks_for_a_rest_gets_it_and_the_time_is_passed_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with town(
            tmp_path,
            failing("429 Slow", b"{}", "retry-after: 30"),
            failing("429 Slow", b"{}", "retry-after-ms: 20500"),
        ) as gate:
            for _ in range(3):
                found = await gate.call()
                assert found.status == 429
                assert found.error["code"] == "rate_limit_exceeded"
                assert 20_000 < int(found.headers["retry-after-ms"]) <= 20_501
                assert "x-should-retry" not in found.headers
            assert [name for name, _ in await gate.went(2)] == ["u1", "u2"]

    run(main())


def test_a_short_rest_is_waited_for(tmp_path: Path) -> None:
    replies = [whole(b"{}", "429 Slow", "retry-after-ms: 20"), GOOD]

    async def limited(line: Line) -> None:
        while replies:
            await line.request()
            await line.send(replies.pop(0))
        await line.gone()

    async def main() -> None:
        async with town(tmp_path, limited) as gate:
            assert (await gate.call()).status == 200
            assert [outcome for _, outcome in await gate.went(2)] == [REFUSED, OK]

    run(main())


def test_a_longer_context_is_looked_for_and_a_shorter_one_spared(tmp_path: Path) -> None:
    async def main() -> None:
        async with town(
            tmp_path,
            Stead(script=failing("400 No", TOO_LONG), context_tokens=1000),
            Stead(script=never, context_tokens=1000),
            Stead(script=good(False), context_tokens=5000),
        ) as gate:
            assert (await gate.call()).status == 200
            assert await gate.went(2) == [("u1", REFUSED), ("u3", OK)]

    run(main())


def test_when_none_is_longer_the_client_is_told_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with town(tmp_path, Stead(script=failing("400 No", TOO_LONG), context_tokens=1000)) as gate:
            found = await gate.call()
            assert (found.status, found.error["code"]) == (400, "context_length_exceeded")

    run(main())


def test_what_one_cannot_be_asked_another_can(tmp_path: Path) -> None:
    class Mute:
        """A dialect that has no word for anything, where the model is the first one's."""

        def request(self, call: Any) -> Any:
            from headgate.core.errors import InvalidField
            from headgate.dialects.openai import OpenAI

            if call.upstream_model == "m1":
                raise InvalidField("no word for it", param="n")
            return OpenAI().request(call)

        def credentials(self, key: str) -> Any:
            return ()

        def error(self, status: int, headers: Any, body: bytes) -> Any:
            raise AssertionError

    async def main() -> None:
        async with town(tmp_path, never, good(False), dialect=Mute()) as gate:
            assert (await gate.call()).status == 200
            assert await gate.went(1) == [("u2", OK)]

    run(main())


# --- places -----------------------------------------------------------------------------------------------


def test_the_next_one_takes_what_the_first_has_no_room_for_and_then_they_wait(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def slow(line: Line) -> None:
        while True:
            await line.request()
            await held.wait()
            await line.send(GOOD)

    async def main() -> None:
        first, second = Places(1, queue_limit=1), Places(1)
        async with town(
            tmp_path, Stead(script=slow, places=(first,)), Stead(script=slow, places=(second,))
        ) as gate:
            clients = [await gate.client() for _ in range(3)]
            for client in clients:
                await client.ask()
                # One after the other: who comes first is what is told here.
                await until(lambda: first.taken + first.waiting + second.taken > clients.index(client))  # noqa: B023
            assert (first.taken, second.taken, first.waiting) == (1, 1, 1)
            found = await gate.call()
            assert found.status == 429
            held.set()
            assert [(await client.answer()).status for client in clients] == [200] * 3
            assert sorted(name for name, _ in await gate.went(3)) == ["u1", "u1", "u2"]

    run(main())


def test_who_waits_and_hangs_up_leaves_the_queue(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def slow(line: Line) -> None:
        await line.request()
        await held.wait()
        await line.send(GOOD)
        await line.gone()

    async def main() -> None:
        places = Places(1, queue_limit=1)
        async with town(tmp_path, Stead(script=slow, places=(places,))) as gate:
            first, second = await gate.client(), await gate.client()
            await first.ask()
            await until(lambda: places.taken == 1)
            await second.ask()
            await until(lambda: places.waiting == 1)
            second.hang_up()
            await until(lambda: places.waiting == 0)
            held.set()
            assert (await first.answer()).status == 200
            assert await gate.went(1) == [("u1", OK)]

    run(main())


# --- deadlines --------------------------------------------------------------------------------------------


def test_a_first_token_that_is_late_is_asked_for_elsewhere(tmp_path: Path) -> None:
    async def polite(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(b": processing\n\n"))
        await line.gone()

    async def main() -> None:
        rules = Routing(first_token_timeout_ms=30)
        for first in (quiet, polite):
            folder = tmp_path / first.__name__
            folder.mkdir()
            async with town(folder, first, good(True), rules=rules) as gate:
                found = await gate.call(True)
                assert found.status == 200
                assert b"Hello" in found.body
                assert found.body.endswith(DONE)
                assert await gate.went(2) == [("u1", FAILED), ("u2", OK)]

    run(main())


def test_who_has_begun_in_time_may_take_its_time(tmp_path: Path) -> None:
    async def steady(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(ROLE + said("Hel")))
        await asyncio.sleep(0.08)  # longer than the limit: it must not count any more
        await line.send(chunk(said("lo") + finished() + DONE), LAST)
        await line.gone()

    async def main() -> None:
        async with town(tmp_path, steady, never, rules=Routing(first_token_timeout_ms=50)) as gate:
            found = await gate.call(True)
            assert found.body.endswith(DONE)
            assert await gate.went(1) == [("u1", OK)]

    run(main())


@pytest.mark.parametrize("begun", [False, True])
def test_all_of_it_together_has_a_limit(tmp_path: Path, begun: bool) -> None:
    async def slow(line: Line) -> None:
        await line.request()
        if begun:
            await line.send(STREAM, chunk(ROLE + said("Hel")))
        await line.gone()

    async def main() -> None:
        rules = Routing(total_timeout_ms=50)
        async with town(tmp_path, slow, rules=rules) as gate:
            found = await gate.call(True)
            if begun:
                [error] = errors_in(found.body)
                assert error["code"] == "upstream_timeout"
            else:
                assert (found.status, found.headers["x-should-retry"]) == (504, "false")
            assert await gate.went(1) == [("u1", FAILED)]

    run(main())


def test_between_tokens_comments_do_not_count(tmp_path: Path) -> None:
    async def keeps_open(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(ROLE + said("Hel")))
        while True:
            await line.send(chunk(b": still here\n\n"))
            await asyncio.sleep(0.05)

    async def main() -> None:
        rules = Routing(token_timeout_ms=300)
        async with town(tmp_path, keeps_open, rules=rules) as gate:
            found = await gate.call(True)
            [error] = errors_in(found.body)
            assert error["code"] == "upstream_timeout"
            assert await gate.went(1) == [("u1", FAILED)]

    run(main())


# --- what is told -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_who_answered_is_told_where_the_operator_allows_it(tmp_path: Path, stream: bool) -> None:
    async def main() -> None:
        rules = Routing(tell_upstream=True, tell_attempts=True, backoff_ms=1)
        async with town(tmp_path, failing("500 Oh"), good(stream), rules=rules) as gate:
            found = await gate.call(stream)
            assert found.headers["x-headgate-upstream"] == "u2"
            assert found.headers["x-headgate-attempts"] == "2"

    run(main())


def test_heavy_requests_are_sent_again_whole(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def first(line: Line) -> None:
        seen.append((await line.request()).partition(b"\r\n\r\n")[2])
        await line.send(whole(b"{}", "500 Oh"))

    async def second(line: Line) -> None:
        seen.append((await line.request()).partition(b"\r\n\r\n")[2])
        await line.send(GOOD)
        await line.gone()

    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * 300_000}}

    async def main() -> None:
        async with town(tmp_path, first, second) as gate:
            found = await gate.call(messages=[{"role": "user", "content": [picture]}])
            assert found.status == 200
            assert await gate.went(2) == [("u1", FAILED), ("u2", OK)]

    run(main())
    one, two = (json.loads(body) for body in seen)
    assert (one.pop("model"), two.pop("model")) == ("m1", "m2")
    assert one == two
    assert one["messages"][0]["content"] == [picture]


def test_records_are_on_the_disk_first_whoever_answers(tmp_path: Path) -> None:
    async def main() -> None:
        async with town(tmp_path, failing("500 Oh"), good(False), fsync_interval_ms=0) as gate:
            assert (await gate.call()).status == 200
            assert await gate.went(2) == [("u1", FAILED), ("u2", OK)]

    run(main())
