"""Time limits: told in a request's own errors, lifted in time, and in nobody else's way."""

from __future__ import annotations

import asyncio

import pytest

from headgate.core.errors import UpstreamTimedOut
from headgate.gateway.within import within
from tests.conftest import run


def test_what_takes_too_long_is_ended() -> None:
    async def main() -> None:
        ended = False

        async def waits() -> None:
            nonlocal ended
            async with within(1):
                try:
                    await asyncio.Event().wait()
                finally:
                    ended = True

        with pytest.raises(UpstreamTimedOut):
            await waits()
        assert ended

    run(main())


def test_a_limit_that_was_lifted_is_none() -> None:
    async def main() -> None:
        async with within(5) as limit:
            limit.lift()
            await asyncio.sleep(0.02)  # past the limit that was
            limit.lift()

    run(main())


def test_errors_and_cancellation_pass() -> None:
    async def main() -> None:
        with pytest.raises(KeyError):
            async with within(1000):
                raise KeyError

        async def waits() -> None:
            async with within(1000):
                await asyncio.Event().wait()

        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
