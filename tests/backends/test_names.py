"""Look-ups: one at a time for each name, whoever comes and goes meanwhile."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from headgate.backends import names
from headgate.backends.names import look_up
from tests.backends.scripted import until
from tests.conftest import run


class Resolver:
    """The system's resolver, held up: it answers when it is told to, and counts who asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.open = threading.Event()
        self.fails = False
        monkeypatch.setattr(names, "_ask", self._ask)

    async def _ask(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> Any:
        self.asked.append(host)
        await loop.run_in_executor(None, self.open.wait)
        if self.fails:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, (f"{host}'s", port))]


def test_many_wait_for_one_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        resolver = Resolver(monkeypatch)
        waiting = [asyncio.ensure_future(look_up("slow.test", 80)) for _ in range(50)]
        other = asyncio.ensure_future(look_up("other.test", 80))
        await until(lambda: len(resolver.asked) == 2)
        waiting[0].cancel()
        resolver.open.set()
        found = await asyncio.gather(*waiting, other, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert found[1:-1] == [[(socket.AF_INET, ("slow.test's", 80))]] * 49
        assert found[-1] == [(socket.AF_INET, ("other.test's", 80))]
        assert resolver.asked == ["slow.test", "other.test"]
        # What was found is not kept: names move.
        await look_up("slow.test", 80)
        assert resolver.asked[2:] == ["slow.test"]

    run(main())


def test_a_failure_is_everybodys_and_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        resolver = Resolver(monkeypatch)
        resolver.fails = True
        waiting = [asyncio.ensure_future(look_up("slow.test", 80)) for _ in range(3)]
        left = asyncio.ensure_future(look_up("left.test", 80))
        await until(lambda: len(resolver.asked) == 2)
        left.cancel()
        resolver.open.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in found] == [socket.gaierror] * 3
        # The one that nobody waits for fails without a word: `run` would tell.
        await until(lambda: not names._under_way)

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_number_is_no_name(host: str) -> None:
    async def main() -> None:
        found = await look_up(host, 80)
        assert [address[0] for _, address in found] == [host]

    run(main())


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test"])
def test_what_is_no_host_name(host: str) -> None:
    async def main() -> None:
        with pytest.raises(socket.gaierror):
            await look_up(host, 80)

    run(main())
