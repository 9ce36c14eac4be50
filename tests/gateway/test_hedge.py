"""Two targets at once: whoever speaks first is heard, the other is cancelled and recorded as superseded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headgate.core.ports import Outcome
from headgate.core.settings_routing import Routing
from tests.backends.scripted import Line, until
from tests.conftest import run
from tests.gateway.house import DONE, LAST, ROLE, STREAM, answer, chunk, errors_in, finished, said, whole
from tests.gateway.test_persevere import GOOD, GOOD_STREAM, failing, good, never, quiet
from tests.gateway.town import town

OK, FAILED, SUPERSEDED, GONE = Outcome.OK, Outcome.FAILED, Outcome.SUPERSEDED, Outcome.CLIENT_GONE
EAGER = Routing(hedge_after_ms=5, backoff_ms=1, retry_burst=100)
PATIENT = Routing(hedge_after_ms=60_000)


async def dozing(line: Line) -> None:
    """Says that it is there, and nothing else."""
    await line.request()
    await line.send(STREAM, chunk(b": processing\n\n"))
    await line.gone()


@pytest.mark.parametrize("stream", [False, True])
def test_who_is_late_is_given_up_for_who_speaks(tmp_path: Path, stream: bool) -> None:
    gone = asyncio.Event()

    async def late(line: Line) -> None:
        try:
            await line.request()
            await line.gone()
        finally:  # on a busy machine it is given up before its request has come
            gone.set()

    async def main() -> None:
        async with town(tmp_path, late, good(stream), rules=EAGER) as gate:
            found = await gate.call(stream)
            assert found.status == 200
            assert b"Hello" in found.body
            assert await gate.went(2) == [("u1", SUPERSEDED), ("u2", OK)]
            await gone.wait()

    run(main())


def test_a_comment_is_not_speech(tmp_path: Path) -> None:
    async def main() -> None:
        async with town(tmp_path, dozing, good(True), rules=EAGER) as gate:
            found = await gate.call(True)
            assert b"Hello" in found.body
            assert found.body.endswith(DONE)
            assert await gate.went(2) == [("u1", SUPERSEDED), ("u2", OK)]

    run(main())


def test_who_is_in_time_has_no_rival(tmp_path: Path) -> None:
    async def main() -> None:
        async with town(tmp_path, good(True), never, rules=PATIENT) as gate:
            assert b"Hello" in (await gate.call(True)).body
            assert await gate.went(1) == [("u1", OK)]

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_the_first_may_win_after_all(tmp_path: Path, stream: bool) -> None:
    asked = asyncio.Event()

    async def late(line: Line) -> None:
        await line.request()
        await asked.wait()
        await line.send(*(GOOD_STREAM if stream else [GOOD]))
        await line.gone()

    async def later(line: Line) -> None:
        await line.request()
        asked.set()
        await line.gone()

    async def main() -> None:
        async with town(tmp_path, late, later, rules=EAGER) as gate:
            found = await gate.call(stream)
            assert b"Hello" in found.body
            assert sorted(await gate.went(2)) == [("u1", OK), ("u2", SUPERSEDED)]

    run(main())


def test_nothing_of_the_loser_is_mixed_in(tmp_path: Path) -> None:
    both = asyncio.Event()

    async def one(line: Line) -> None:
        while True:
            await line.request()
            await both.wait()
            await line.send(STREAM, *[chunk(said("a")) for _ in range(50)], chunk(finished() + DONE), LAST)

    async def other(line: Line) -> None:
        while True:
            await line.request()
            both.set()
            await line.send(STREAM, *[chunk(said("b")) for _ in range(50)], chunk(finished() + DONE), LAST)

    async def main() -> None:
        async with town(tmp_path, one, other, rules=EAGER) as gate:
            for _ in range(10):
                body = (await gate.call(True)).body
                assert (body.count(b'"a"'), body.count(b'"b"')) in ((50, 0), (0, 50))
                assert body.count(DONE) == 1

    run(main())


def test_when_one_fails_the_other_is_waited_for(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def late(line: Line) -> None:
        await line.request()
        await asked.wait()
        await line.send(whole(answer("Hello")))
        await line.gone()

    async def failing_later(line: Line) -> None:
        await line.request()
        await line.send(whole(b"{}", "500 Oh"))
        asked.set()
        await line.gone()

    async def main() -> None:
        async with town(tmp_path, late, failing_later, rules=EAGER) as gate:
            assert (await gate.call()).status == 200
            assert await gate.went(2) == [("u1", OK), ("u2", FAILED)]

    run(main())


def test_when_both_fail_others_are_tried(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def late(line: Line) -> None:
        await line.request()
        await asked.wait()
        await line.send(whole(b"{}", "500 Oh"))
        await line.gone()

    async def failing_later(line: Line) -> None:
        await line.request()
        asked.set()
        await line.send(whole(b"{}", "502 Oh"))
        await line.gone()

    async def main() -> None:
        async with town(tmp_path, late, failing_later, good(False), rules=EAGER) as gate:
            assert (await gate.call()).status == 200
            assert await gate.went(3) == [("u1", FAILED), ("u2", FAILED), ("u3", OK)]

    run(main())


def test_the_winner_may_still_break_off(tmp_path: Path) -> None:
    async def breaks(line: Line) -> None:
        await line.request()
        await line.send(STREAM, chunk(ROLE + said("Hel")))

    async def main() -> None:
        async with town(tmp_path, quiet, breaks, rules=EAGER) as gate:
            found = await gate.call(True)
            assert len(errors_in(found.body)) == 1
            assert await gate.went(2) == [("u1", SUPERSEDED), ("u2", FAILED)]

    run(main())


def test_a_client_that_leaves_ends_both(tmp_path: Path) -> None:
    async def main() -> None:
        async with town(tmp_path, quiet, quiet, rules=EAGER) as gate:
            client = await gate.client()
            await client.ask(True)
            await until(lambda: len(gate.records()) == 2)
            client.hang_up()
            assert await gate.went(2) == [("u1", GONE), ("u2", GONE)]

    run(main())


def test_a_hedge_is_paid_from_the_budget(tmp_path: Path) -> None:
    async def late(line: Line) -> None:
        while True:
            await line.request()
            await asyncio.sleep(0.03)  # late enough to be hedged, were there anything to pay it with
            await line.send(GOOD)

    async def main() -> None:
        rules = Routing(hedge_after_ms=5, retry_budget_percent=0, retry_burst=0)
        async with town(tmp_path, late, never, rules=rules) as gate:
            assert (await gate.call()).status == 200
            assert await gate.went(1) == [("u1", OK)]

    run(main())


def test_one_target_has_no_rival(tmp_path: Path) -> None:
    async def main() -> None:
        async with town(tmp_path, failing("400 No"), rules=EAGER) as gate:
            assert (await gate.call()).status == 400
            assert len(await gate.went(1)) == 1

    run(main())
