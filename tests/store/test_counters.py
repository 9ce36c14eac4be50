"""Counters in memory: all or nothing, exact under a crowd, and nothing stays held."""

from __future__ import annotations

import asyncio
from datetime import UTC

import pytest

from headgate.core.accounting import Crossing, Hold
from headgate.core.errors import (
    ApiError,
    InsufficientQuota,
    Overloaded,
    RateLimited,
    StoreError,
    TokensLimited,
    TooManyTokens,
)
from headgate.core.limit import DAY_MS, MINUTE_MS, Account, Budget, Limits, Meter, meters
from headgate.store import counters as counters_module
from headgate.store.counters import MemoryCounters
from tests.conftest import run

NOW_MS = 1_800_000_000_000


class Ledger:
    """What was spent before."""

    def __init__(self, spent: int = 0, balance: int = 0) -> None:
        self.sum, self.credit, self.asked = spent, balance, 0

    async def spent(self, account: str, since_ms: int) -> int:
        self.asked += 1
        await asyncio.sleep(0)
        return self.sum

    async def balance(self, team_id: str) -> int:
        self.asked += 1
        await asyncio.sleep(0)
        return self.credit

    async def credited(self, team_id: str) -> int:
        return self.credit


class Desk:
    """Counters whose clock a test turns."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.now_ms = 0
        self.crossings: list[Crossing] = []
        self.ledger = ledger or Ledger()
        self.counters = MemoryCounters(
            self.ledger,
            UTC,
            clock_ms=lambda: self.now_ms,
            wall_ms=lambda: NOW_MS + self.now_ms,
            on_crossing=self.crossings.append,
        )

    async def reserve(self, account: Account, tokens: int = 0, amount: int = 0, user: str = "") -> Hold:
        return await self.counters.bind(of(account, user)).reserve(tokens, amount)

    async def refused(self, account: Account, tokens: int = 0, amount: int = 0) -> ApiError:
        with pytest.raises(ApiError) as caught:
            await self.reserve(account, tokens, amount)
        return caught.value


def of(account: Account, user: str = "") -> tuple[Meter, ...]:
    return meters((account,), "m", Limits(), user)


def limited(**limits: int) -> Account:
    return Account(id="key:k", limits=Limits(**limits))


def budgeted(amount: int, **options: object) -> Account:
    return Account(id="key:k", budgets=(Budget(amount_nanodollars=amount, **options),))  # type: ignore[arg-type]


def test_two_thousand_at_once_against_a_budget_for_a_hundred() -> None:
    async def main() -> None:
        desk = Desk()
        bound = desk.counters.bind(of(budgeted(1000)))
        results = await asyncio.gather(*(bound.reserve(0, 10) for _ in range(2000)), return_exceptions=True)
        passed = [result for result in results if not isinstance(result, BaseException)]
        assert len(passed) == 100
        assert sum(isinstance(result, InsufficientQuota) for result in results) == 1900
        assert desk.ledger.asked == 1
        for hold in passed:
            hold.settle(0, 10)
        assert desk.counters.reserved == 0
        await desk.refused(budgeted(1000), amount=1)

    run(main())


def test_what_was_reserved_and_not_used_is_there_again() -> None:
    async def main() -> None:
        desk = Desk()
        hold = await desk.reserve(budgeted(100), amount=100)
        await desk.refused(budgeted(100), amount=1)
        hold.settle(0, 30)
        hold.settle(0, 999)  # only the first one counts
        await desk.reserve(budgeted(100), amount=70)
        await desk.refused(budgeted(100), amount=1)

    run(main())


def test_one_meter_that_refuses_leaves_all_others_untouched() -> None:
    async def main() -> None:
        desk = Desk()
        account = Account(
            id="key:k",
            limits=Limits(requests_per_minute=5, tokens_per_minute=100, concurrent_requests=5),
            budgets=(Budget(amount_nanodollars=10),),
        )
        for _ in range(50):
            assert isinstance(await desk.refused(account, tokens=1, amount=11), InsufficientQuota)
            assert isinstance(await desk.refused(account, tokens=101, amount=1), TooManyTokens)
        assert desk.counters.taken == desk.counters.reserved == 0
        hold = await desk.reserve(account, tokens=100, amount=10)
        assert hold.requests is not None
        assert hold.requests.remaining == 4

    run(main())


def test_concurrent_requests_take_places_and_leave_them() -> None:
    async def main() -> None:
        desk = Desk()
        account = limited(concurrent_requests=2)
        holds = [await desk.reserve(account) for _ in range(2)]
        error = await desk.refused(account)
        assert isinstance(error, RateLimited)
        assert error.retry_after_ms
        holds[0].settle(0, 0)
        await desk.reserve(account)
        await desk.refused(account)

    run(main())


def test_retry_after_is_true_to_the_millisecond_over_several_meters() -> None:
    async def main() -> None:
        desk = Desk()
        account = limited(requests_per_minute=7, requests_per_day=13, tokens_per_minute=1000)
        for _ in range(40):
            try:
                hold = await desk.reserve(account, tokens=90)
            except ApiError as error:
                desk.now_ms += (error.retry_after_ms or 0) - 1
                again = await desk.refused(account, tokens=90)
                assert again.retry_after_ms == 1
                desk.now_ms += 1
                hold = await desk.reserve(account, tokens=90)
            hold.settle(90, 0)

    run(main())


def test_tokens_are_corrected_at_settlement_in_both_directions() -> None:
    async def main() -> None:
        desk = Desk()
        account = limited(tokens_per_minute=1000)
        (await desk.reserve(account, tokens=900)).settle(100, 0)
        hold = await desk.reserve(account, tokens=900)
        assert hold.tokens is not None
        assert (hold.tokens.limit, hold.tokens.remaining, hold.tokens.reset_ms) == (1000, 0, MINUTE_MS)
        hold.settle(1200, 0)
        error = await desk.refused(account, tokens=1)
        assert isinstance(error, TokensLimited)
        assert error.retry_after_ms == 301 * 60

    run(main())


def test_a_request_may_be_too_large_for_ever() -> None:
    async def main() -> None:
        desk = Desk()
        for account in (limited(tokens_per_request=50), limited(tokens_per_day=50)):
            error = await desk.refused(account, tokens=51)
            assert isinstance(error, TooManyTokens)
            assert error.retry_after_ms is None
            (await desk.reserve(account, tokens=50)).settle(0, 0)

    run(main())


def test_each_end_user_has_a_limit_of_its_own() -> None:
    async def main() -> None:
        desk = Desk()
        account = Account(id="team:t", user_limits=Limits(requests_per_minute=1))
        await desk.reserve(account, user="ann")
        await desk.reserve(account, user="bob")
        with pytest.raises(RateLimited, match="end user"):
            await desk.reserve(account, user="ann")
        await desk.reserve(account)

    run(main())


def test_a_new_period_begins_with_nothing_spent_and_old_holds_do_not_disturb_it() -> None:
    async def main() -> None:
        desk = Desk()
        account = budgeted(100, period="day")
        old = await desk.reserve(account, amount=100)
        desk.now_ms += DAY_MS
        new = await desk.reserve(account, amount=60)
        old.settle(0, 100)
        await desk.reserve(account, amount=40)
        new.settle(0, 0)
        await desk.reserve(account, amount=60)
        await desk.refused(account, amount=1)

    run(main())


def test_what_was_spent_before_counts() -> None:
    async def main() -> None:
        desk = Desk(Ledger(spent=90))
        await desk.refused(budgeted(100), amount=11)
        await desk.reserve(budgeted(100), amount=10)
        assert desk.ledger.asked == 1

    run(main())


def test_while_the_ledger_is_away_a_budget_that_was_not_met_refuses_and_others_go_on() -> None:
    async def main() -> None:
        desk = Desk()
        await desk.reserve(budgeted(100), amount=10)

        async def away(account: str, since_ms: int) -> int:
            raise StoreError("away")

        desk.ledger.spent = away  # type: ignore[method-assign]
        await desk.reserve(budgeted(100), amount=10)
        other = Account(id="key:other", budgets=(Budget(amount_nanodollars=100),))
        for _ in range(2):
            error = await desk.refused(other)
            assert isinstance(error, Overloaded)
            assert error.retry_after_ms
        del desk.ledger.spent
        await desk.reserve(other, amount=10)

    run(main())


def test_a_balance_is_credits_less_debits() -> None:
    async def main() -> None:
        desk = Desk(Ledger(balance=50))
        account = Account(id="team:t", prepaid=True)
        hold = await desk.reserve(account, amount=50)
        assert isinstance(await desk.refused(account, amount=1), InsufficientQuota)
        desk.ledger.credit += 25
        await desk.counters.refresh_balances()
        await desk.counters.refresh_balances()  # once is enough
        await desk.reserve(account, amount=25)
        hold.settle(0, 20)
        await desk.reserve(account, amount=30)
        await desk.refused(account, amount=1)
        desk.ledger.credit -= 5
        await desk.counters.refresh_balances()
        desk.ledger.credit += 12
        await desk.counters.refresh_balances()
        await desk.refused(account, amount=8)
        await desk.reserve(account, amount=7)

    run(main())


def test_thresholds_are_told_once_in_each_period() -> None:
    async def main() -> None:
        desk = Desk()
        account = budgeted(100, period="day", hard=False, warn_percent=(50, 100))
        for amount, told in ((49, []), (1, [50]), (10, [50]), (80, [50, 100]), (500, [50, 100])):
            (await desk.reserve(account, amount=1000)).settle(0, amount)
            assert [crossing.percent for crossing in desk.crossings] == told
        desk.now_ms += DAY_MS
        (await desk.reserve(account)).settle(0, 150)
        assert [crossing.percent for crossing in desk.crossings] == [50, 100, 50, 100]
        assert len({crossing.start_ms for crossing in desk.crossings}) == 2

    run(main())


def test_a_threshold_that_was_passed_before_the_start_is_told_again() -> None:
    async def main() -> None:
        desk = Desk(Ledger(spent=85))
        await desk.reserve(budgeted(100))
        assert [(crossing.percent, crossing.spent_nanodollars) for crossing in desk.crossings] == [(80, 85)]

    run(main())


def test_a_changed_limit_counts_at_once_and_what_was_used_stays() -> None:
    async def main() -> None:
        desk = Desk()
        for _ in range(3):
            await desk.reserve(limited(requests_per_minute=3))
        await desk.reserve(limited(requests_per_minute=4))
        await desk.refused(limited(requests_per_minute=4))
        await desk.reserve(budgeted(100), amount=100)
        await desk.reserve(budgeted(150), amount=50)
        await desk.refused(budgeted(150), amount=1)

    run(main())


def test_a_retry_books_what_the_first_attempt_used_and_reserves_again() -> None:
    async def main() -> None:
        desk = Desk()
        account = Account(
            id="key:k",
            limits=Limits(tokens_per_minute=100),
            budgets=(Budget(amount_nanodollars=100),),
        )
        hold = await desk.reserve(account, tokens=40, amount=40)
        assert await hold.spend(10, 10)
        await desk.refused(account, amount=51)
        assert not await hold.spend(60, 60)
        hold.settle(0, 0)
        assert desk.counters.reserved == 0
        await desk.reserve(account, tokens=30, amount=30)
        await desk.refused(account, amount=1)

    run(main())


def test_rates_of_an_earlier_run_are_counted_again() -> None:
    async def main() -> None:
        desk = Desk()
        account = limited(requests_per_minute=3)
        for ago_ms in (70_000, 30_000, 10_000):
            desk.counters.replay(of(account), 0, NOW_MS - ago_ms)
        hold = await desk.reserve(account)
        assert hold.requests is not None
        assert (hold.requests.remaining, hold.requests.reset_ms) == (1, 30_000)

    run(main())


def test_a_counter_that_is_dropped_while_its_neighbour_is_made_is_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        monkeypatch.setattr(counters_module, "SWEEP_ABOVE", 2)
        desk = Desk()
        desk.counters._sweep_above = 1
        one = Account(id="key:k", limits=Limits(requests_per_minute=1))
        both = Account(id="key:k", limits=Limits(requests_per_minute=1, tokens_per_minute=9))
        desk.counters.bind(of(one))
        await desk.reserve(both, tokens=1)
        assert isinstance(await desk.refused(one), RateLimited)

    run(main())


def test_idle_counters_are_dropped_and_busy_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(counters_module, "SWEEP_ABOVE", 100)
        desk = Desk()
        desk.counters._sweep_above = 100
        account = Account(id="team:t", user_limits=Limits(requests_per_minute=2, concurrent_requests=2))
        kept = desk.counters.bind(of(account, "kept"))
        first = await kept.reserve(0, 0)
        desk.now_ms += MINUTE_MS
        for number in range(500):
            (await desk.reserve(account, user=str(number))).settle(0, 0)
            desk.now_ms += MINUTE_MS
        assert len(desk.counters._rates) <= 101
        await kept.reserve(0, 0)
        with pytest.raises(RateLimited):
            await desk.reserve(account, user="kept")
        first.settle(0, 0)
        assert desk.counters.taken == 1

    run(main())
