"""Requests share runs of the model: nobody gets another's result, and nobody waits for a giant's end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engines.batches import PADDED, ROWS, Batches
from tests.conftest import run

Rows = Sequence[Sequence[int]]


class Model:
    """Answers a row with its sum, and remembers what it was given at once."""

    def __init__(self) -> None:
        self.runs: list[list[Sequence[int]]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, rows: Rows) -> list[int]:
        assert self.gate.wait(30)
        self.runs.append(list(rows))
        return [sum(row) for row in rows]


@given(st.lists(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=600), min_size=1, max_size=70),
                min_size=1, max_size=5))  # fmt: skip
def test_everybody_gets_their_own(requests: list[list[list[int]]]) -> None:
    model = Model()

    async def main() -> None:
        batches = Batches[Sequence[int], int](model)
        found = await asyncio.gather(*(batches.results(rows) for rows in requests))
        assert found == [[sum(row) for row in rows] for rows in requests]

    run(main())
    assert sum(map(len, model.runs)) == sum(map(len, requests))
    for rows in model.runs:
        assert len(rows) <= ROWS
        assert len(rows) == 1 or len(rows) * max(map(len, rows)) <= PADDED


def test_requests_are_put_together() -> None:
    model = Model()

    async def main() -> None:
        batches = Batches[Sequence[int], int](model)
        await asyncio.gather(*(batches.results([[number]]) for number in range(ROWS)))

    run(main())
    assert len(model.runs) == 1


def test_a_small_request_does_not_wait_for_a_large_one() -> None:
    model = Model()

    async def main() -> None:
        batches = Batches[Sequence[int], int](model)
        large = asyncio.create_task(batches.results([[1]] * 2000))
        await asyncio.sleep(0)
        assert await batches.results([[2, 2]]) == [4]
        assert len(model.runs) < 2000 / ROWS / 2
        assert await large == [1] * 2000

    run(main())


def test_nobody_works_for_whoever_has_left() -> None:
    model = Model()
    model.gate.clear()

    async def main() -> None:
        batches = Batches[Sequence[int], int](model)
        gone = asyncio.create_task(batches.results([[1]] * 500))
        await asyncio.sleep(0)
        stays = asyncio.create_task(batches.results([[5]]))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        model.gate.set()
        assert await stays == [5]

    run(main())
    assert sum(map(len, model.runs)) <= ROWS + 1


def test_a_failure_is_told_to_those_it_concerns_and_the_next_is_served() -> None:
    def compute(rows: Rows) -> list[int]:
        if any(row == [13] for row in rows):
            raise ValueError("13")
        return [sum(row) for row in rows]

    async def main() -> None:
        batches = Batches[Sequence[int], int](compute)
        with pytest.raises(ValueError, match="13"):
            await batches.results([[13]])
        assert await batches.results([[1]]) == [1]

    run(main())
