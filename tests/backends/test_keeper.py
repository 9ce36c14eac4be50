"""What is lent for a time: one question for all who wait, renewed behind their backs, no storm."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from headgate.backends.keeper import RETRY_S, Keeper, Lent
from headgate.core.errors import ConnectFailed
from tests.backends.scripted import until
from tests.conftest import run


class Giver:
    """Gives numbered values when it is let, and counts how often it was asked."""

    def __init__(self, *, lasts_s: float = 1000.0, renew_s: float | None = None) -> None:
        self.lasts_s = lasts_s
        self.renew_s = renew_s
        self.open = threading.Event()
        self.open.set()
        self.asked = 0
        self.refuses = False

    def obtain(self) -> Lent[str]:
        self.asked += 1
        number = self.asked
        assert self.open.wait(30)
        if self.refuses:
            raise ConnectFailed("no")
        return Lent(f"value-{number}", self.lasts_s, self.renew_s)


def test_all_who_wait_ask_once() -> None:
    async def main() -> None:
        giver = Giver()
        giver.open.clear()
        keeper = Keeper("test", giver.obtain)
        waiting = [asyncio.create_task(keeper.current()) for _ in range(20)]
        await until(lambda: giver.asked == 1)
        waiting[0].cancel()  # a client that leaves takes nothing from the others
        giver.open.set()
        assert await asyncio.gather(*waiting[1:]) == ["value-1"] * 19
        assert await keeper.current() == "value-1"
        assert giver.asked == 1

    run(main())


def test_it_is_renewed_while_the_old_one_is_handed_out() -> None:
    async def main() -> None:
        giver = Giver(renew_s=0.0)
        keeper = Keeper("test", giver.obtain)
        assert await keeper.current() == "value-1"
        giver.open.clear()
        assert [await keeper.current() for _ in range(5)] == ["value-1"] * 5
        await until(lambda: giver.asked == 2)
        giver.renew_s = None
        giver.open.set()
        while await keeper.current() == "value-1":
            await asyncio.sleep(0)
        assert await keeper.current() == "value-2"
        assert giver.asked == 2

    run(main())


def test_what_is_over_is_not_handed_out() -> None:
    async def main() -> None:
        giver = Giver(lasts_s=0.0)
        keeper = Keeper("test", giver.obtain)
        assert [await keeper.current(), await keeper.current()] == ["value-1", "value-2"]

    run(main())


def test_a_refusal_is_told_and_not_repeated_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        giver = Giver()
        giver.refuses = True
        keeper = Keeper("upstream: no token", giver.obtain)
        for _ in range(10):
            with pytest.raises(ConnectFailed, match="no"):
                await keeper.current()
        assert giver.asked == 1

    with caplog.at_level(logging.WARNING):
        run(main())
    assert caplog.messages == ["upstream: no token: no"]
    assert RETRY_S > 1


def test_a_refused_renewal_harms_nobody_while_there_is_a_value() -> None:
    async def main() -> None:
        giver = Giver(renew_s=0.0)
        keeper = Keeper("test", giver.obtain)
        await keeper.current()
        giver.refuses = True
        await keeper.current()
        await until(lambda: giver.asked == 2)
        for _ in range(10):
            assert await keeper.current() == "value-1"
            await asyncio.sleep(0)
        assert giver.asked == 2

    run(main())


def test_it_lets_go_of_what_is_under_way() -> None:
    async def main() -> None:
        giver = Giver()
        giver.open.clear()
        keeper = Keeper("test", giver.obtain)
        waiting = asyncio.create_task(keeper.current())
        await until(lambda: giver.asked == 1)
        await keeper.close()
        giver.open.set()
        assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)
        await keeper.close()

    run(main())


def test_it_shows_nothing() -> None:
    assert "hush" not in repr(Lent("hush", 1.0))
    assert Lent("x", 3600.0).renew_s == 3300.0
    assert Lent("x", 60.0).renew_s == 30.0
