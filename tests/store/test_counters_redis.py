"""Shared counters among real processes and a real Redis that is killed, frozen and emptied under them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.core.errors import InsufficientQuota, Overloaded
from headgate.core.resp import arguments, command
from headgate.store.counters_redis import RedisCounters
from tests.conftest import run
from tests.services import Redis, redis
from tests.store.crowd import METERS, shared


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    with redis(tmp_path / "redis") as service:
        yield service


def crowd(server: Redis, prefix: str, count: int, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.store.crowd", server.url, prefix, str(count), *more]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


async def seen(counters: RedisCounters, *words: str) -> Any:
    encoded = [word.encode() for word in words]
    return await counters._redis.call(command(len(encoded), arguments(encoded)))


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.01)


async def quiet(counters: RedisCounters) -> None:
    async def confirmed() -> bool:
        return counters.unconfirmed == 0

    await until(confirmed)


def test_two_thousand_requests_of_four_processes_against_a_budget_for_a_hundred(server: Redis) -> None:
    processes = [crowd(server, "{x}:", 500) for _ in range(4)]
    passed = [process.communicate(timeout=60)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert sum(map(int, passed)) == 100

    async def main() -> None:
        counters = shared(server.url, "{x}:")
        await counters.start()
        assert await seen(counters, "HMGET", "{x}:key:k/once@0", "u", "s") == [b"1000", b"1000"]
        assert await seen(counters, "GET", "{x}:key:k/places") == b"0"
        await counters.stop()

    run(main())


def test_what_a_killed_process_held_is_settled_as_used_when_its_lease_is_over(server: Redis) -> None:
    async def main() -> None:
        process = crowd(server, "{x}:", 30, "stay")
        assert process.stdout is not None
        assert process.stdout.readline() == "30\n"
        counters = shared(server.url, "{x}:")
        await counters.start()
        assert await seen(counters, "GET", "{x}:key:k/places") == b"30"
        process.kill()
        process.communicate()

        async def free() -> bool:
            return bool(await seen(counters, "GET", "{x}:key:k/places") == b"0")

        await until(free)
        assert await seen(counters, "HMGET", "{x}:key:k/once@0", "u", "s") == [b"300", b"300"]
        hold = await counters.bind(METERS).reserve(1, 700)
        with pytest.raises(InsufficientQuota):
            await counters.bind(METERS).reserve(1, 1)
        hold.settle(1, 700)
        await counters.stop()

    run(main())


def test_a_process_that_was_taken_for_dead_settles_what_it_used_all_the_same(server: Redis) -> None:
    async def main() -> None:
        sleeper, other = shared(server.url, "{x}:", 10**9), shared(server.url, "{x}:", 300)
        await sleeper.start()
        await other.start()
        hold = await sleeper.bind(METERS).reserve(1, 100)
        await seen(other, "ZADD", "{x}:processes", "1", sleeper._process)

        async def reaped() -> bool:
            return bool(await seen(other, "GET", "{x}:key:k/places") == b"0")

        await until(reaped)
        hold.settle(1, 40)
        await quiet(sleeper)
        assert await seen(other, "HMGET", "{x}:key:k/once@0", "u", "s") == [b"40", b"40"]
        assert await seen(other, "GET", "{x}:key:k/places") == b"0"
        await sleeper.stop()
        await other.stop()

    run(main())


def test_a_settlement_that_is_sent_twice_counts_once(server: Redis) -> None:
    async def main() -> None:
        counters = shared(server.url, "{x}:")
        await counters.start()
        hold: Any = await counters.bind(METERS).reserve(1, 100)
        hold.settle(1, 40)
        await quiet(counters)
        await hold.send()
        assert await seen(counters, "HMGET", "{x}:key:k/once@0", "u", "s") == [b"40", b"40"]
        await counters.stop()

    run(main())


def test_while_redis_is_away_requests_are_refused_or_let_through_and_settlements_wait(server: Redis) -> None:
    async def main() -> None:
        counters = shared(server.url, "{x}:")
        await counters.start()
        bound = counters.bind(METERS)
        hold = await bound.reserve(1, 100)
        await seen(counters, "SAVE")
        server.kill()
        hold.settle(1, 60)
        with pytest.raises(Overloaded) as caught:
            await bound.reserve(1, 1)
        assert caught.value.retry_after_ms
        counters.when_away = "allow"
        loose = await bound.reserve(1, 10**12)
        assert loose.requests is None
        loose.settle(1, 10**12)
        counters.when_away = "refuse"
        await asyncio.to_thread(server.start)
        await quiet(counters)
        assert await seen(counters, "HMGET", "{x}:key:k/once@0", "u", "s") == [b"60", b"60"]
        assert await seen(counters, "GET", "{x}:key:k/places") == b"0"
        await counters.stop()

    run(main())


def test_a_redis_that_has_lost_everything_asks_the_ledger_again(server: Redis) -> None:
    async def main() -> None:
        counters = shared(server.url, "{x}:")
        await counters.start()
        bound = counters.bind(METERS)
        old = await bound.reserve(1, 100)
        await seen(counters, "FLUSHALL")
        new = await bound.reserve(1, 500)
        old.settle(1, 70)
        await quiet(counters)
        assert await seen(counters, "HMGET", "{x}:key:k/once@0", "u", "s") == [b"570", b"70"]
        new.settle(1, 500)
        await quiet(counters)
        assert await seen(counters, "HMGET", "{x}:key:k/once@0", "u", "s") == [b"570", b"570"]
        assert await seen(counters, "GET", "{x}:key:k/places") == b"0"
        await counters.stop()

    run(main())


def test_a_frozen_redis_is_away_within_its_time_limit(server: Redis) -> None:
    async def main() -> None:
        counters = shared(server.url, "{x}:")
        await counters.start()
        bound = counters.bind(METERS)
        (await bound.reserve(1, 0)).settle(1, 0)
        server.freeze()
        try:
            with pytest.raises(Overloaded):
                await bound.reserve(1, 100)
        finally:
            server.thaw()
        await quiet(counters)

        async def undone() -> bool:
            return bool(
                await seen(counters, "GET", "{x}:key:k/places") == b"0"
                and await seen(counters, "HGET", "{x}:key:k/once@0", "u") == b"0"
            )

        await until(undone)
        await counters.stop()

    run(main())


def test_a_server_that_forgot_the_script_is_given_it_again(server: Redis) -> None:
    async def main() -> None:
        counters = shared(server.url, "{x}:")
        await counters.start()
        bound = counters.bind(METERS)
        hold = await bound.reserve(1, 100)
        await seen(counters, "SCRIPT", "FLUSH")
        hold.settle(1, 30)
        await quiet(counters)
        assert await seen(counters, "HGET", "{x}:key:k/once@0", "s") == b"30"
        await counters.stop()

    run(main())


def test_a_request_whose_client_leaves_meanwhile_holds_nothing(server: Redis) -> None:
    async def main() -> None:
        counters = shared(server.url, "{x}:")
        await counters.start()
        bound = counters.bind(METERS)
        (await bound.reserve(1, 0)).settle(1, 0)
        task = asyncio.create_task(bound.reserve(1, 100))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await quiet(counters)
        assert await seen(counters, "HGET", "{x}:key:k/once@0", "u") == b"0"
        assert await seen(counters, "GET", "{x}:key:k/places") == b"0"
        await counters.stop()

    run(main())


def test_a_redis_that_is_not_there_at_the_start_is_waited_for(server: Redis) -> None:
    async def main() -> None:
        server.kill()
        counters = shared(server.url, "{x}:")
        await counters.start()
        with pytest.raises(Overloaded):
            await counters.bind(METERS).reserve(1, 1)
        await asyncio.to_thread(server.start)

        async def back() -> bool:
            try:
                (await counters.bind(METERS).reserve(1, 1)).settle(1, 1)
            except Overloaded:
                return False
            return True

        await until(back)
        await counters.stop()

    run(main())
