"""Places: a bound, a queue in order, and nothing lost when somebody gives up."""

from __future__ import annotations

import asyncio

import pytest

from headgate.core.errors import QueueFull
from headgate.gateway.places import Places
from tests.backends.scripted import until
from tests.conftest import run


def test_places_are_taken_and_given_back() -> None:
    async def main() -> None:
        places = Places(2)
        await places.enter()
        assert (places.full, places.closed) == (False, False)
        await places.enter()
        assert (places.full, places.closed) == (True, True)
        with pytest.raises(QueueFull) as caught:
            await places.enter()
        assert caught.value.status == 429
        assert caught.value.retry_after_ms
        places.leave()
        await places.enter()
        places.leave()
        places.leave()
        assert places.taken == 0

    run(main())


def test_the_queue_is_served_in_order_and_nobody_overtakes() -> None:
    async def main() -> None:
        places, served = Places(1, queue_limit=3), []
        await places.enter()

        async def wait(name: str) -> None:
            await places.enter()
            served.append(name)

        tasks = []
        for name in "abc":
            tasks.append(asyncio.create_task(wait(name)))
            await until(lambda: places.waiting == len(tasks))
        assert places.closed
        with pytest.raises(QueueFull):
            await places.enter()
        for count in range(1, 4):
            places.leave()
            assert places.full, "the place is handed on at once"
            await until(lambda count=count: len(served) == count)  # type: ignore[misc]
        assert served == ["a", "b", "c"]
        places.leave()
        assert places.taken == 0
        await asyncio.gather(*tasks)

    run(main())


def test_whoever_waits_too_long_is_told_so() -> None:
    async def main() -> None:
        places = Places(1, queue_limit=1, queue_timeout_ms=1)
        await places.enter()
        with pytest.raises(QueueFull):
            await places.enter()
        assert places.waiting == 0
        places.leave()
        assert places.taken == 0

    run(main())


@pytest.mark.parametrize("handed_on", [False, True])
def test_who_gives_up_takes_no_place_along(handed_on: bool) -> None:
    async def main() -> None:
        places = Places(1, queue_limit=2)
        await places.enter()
        task = asyncio.create_task(places.enter())
        await until(lambda: places.waiting == 1)
        if handed_on:
            places.leave()  # the place is the waiter's, who does not know it yet
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if not handed_on:
            places.leave()
        assert (places.taken, places.waiting) == (0, 0)

    run(main())
