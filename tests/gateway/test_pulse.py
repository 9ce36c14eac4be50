"""The pulse: one timer for all streams, at rest while there are none, and no stream harms another's."""

from __future__ import annotations

import asyncio

import pytest

from headgate.gateway.pulse import Pulse
from tests.backends.scripted import until
from tests.conftest import run


class Counter:
    def __init__(self) -> None:
        self.ticks = 0

    def tick(self, step_ms: int) -> None:
        assert step_ms == 5
        self.ticks += 1


def test_streams_are_ticked_while_they_are_there() -> None:
    async def main() -> None:
        pulse = Pulse(5)
        first, second = Counter(), Counter()
        pulse.add(first)
        await until(lambda: first.ticks >= 2)
        pulse.add(second)
        await until(lambda: second.ticks >= 2)
        pulse.discard(first)
        ticks = first.ticks
        await until(lambda: second.ticks >= 5)
        assert first.ticks == ticks
        pulse.discard(second)
        pulse.discard(second)

    run(main())


def test_it_rests_without_streams_and_wakes_again() -> None:
    async def main() -> None:
        pulse = Pulse(5)
        stream = Counter()
        for _ in range(2):
            stream.ticks = 0
            pulse.add(stream)
            await until(lambda: stream.ticks >= 1)
            pulse.discard(stream)
            await until(lambda: pulse._timer is None)

    run(main())


def test_a_stream_may_leave_from_within_its_own_tick() -> None:
    async def main() -> None:
        pulse = Pulse(5)
        other = Counter()

        class Leaving(Counter):
            def tick(self, step_ms: int) -> None:
                super().tick(step_ms)
                pulse.discard(self)

        leaving = [Leaving() for _ in range(10)]
        for stream in (*leaving, other):
            pulse.add(stream)
        await until(lambda: other.ticks >= 3)
        assert [stream.ticks for stream in leaving] == [1] * 10
        pulse.discard(other)
        await asyncio.sleep(0)

    run(main())


def test_a_fault_in_one_tick_stops_nobody_elses(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(Counter):
        def tick(self, step_ms: int) -> None:
            super().tick(step_ms)
            raise RuntimeError("a fault")

    async def main() -> None:
        pulse = Pulse(5)
        streams = [*(Faulty() for _ in range(5)), Counter()]
        for stream in streams:
            pulse.add(stream)
        await until(lambda: all(stream.ticks >= 3 for stream in streams))
        for stream in streams:
            pulse.discard(stream)

    run(main())
    assert "a fault" in caplog.text
