"""Limits, budgets, balances and the ledger's sums against a naive reference, whatever happens in any order.

The same for counters in memory and in Redis: the reference is a list of entries and some fractions.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from datetime import UTC
from fractions import Fraction
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from headgate.core.accounting import Crossing, Hold
from headgate.core.calendar import bounds
from headgate.core.errors import ApiError, InsufficientQuota, RateLimited, TokensLimited, TooManyTokens
from headgate.core.limit import DAY_MS, MINUTE_MS, Account, Budget, Fund, Limits, Places, Rate, Size, meters
from headgate.store.counters import MemoryCounters
from headgate.store.counters_redis import RedisCounters, SharedOptions
from headgate.store.redis import parse_url
from tests.services import Redis, redis

Result = TypeVar("Result")
NOW_MS = 1_800_000_000_000
OPENING = 3000
"""What the balance begins with."""

TEAM = Account(
    id="team:t",
    limits=Limits(requests_per_day=30, tokens_per_day=3001, tokens_per_request=900),
    budgets=(Budget(amount_nanodollars=1500, period="week", hard=False, warn_percent=(50, 90)),),
    prepaid=True,
)
CALLERS = [
    (
        Account(
            id="key:a",
            limits=Limits(requests_per_minute=7, tokens_per_minute=997, concurrent_requests=3),
            budgets=(Budget(amount_nanodollars=700, period="day"),),
        ),
        TEAM,
    ),
    (
        Account(
            id="key:b",
            limits=Limits(requests_per_minute=3),
            budgets=(Budget(amount_nanodollars=2000, period="once", warn_percent=(10,)),),
        ),
        TEAM,
    ),
]


class Entry:
    """A line of the ledger: what one request came to."""

    def __init__(self, accounts: set[str], at_ms: int, price: int) -> None:
        self.accounts, self.at_ms, self.price = accounts, at_ms, price


class Open:
    """A request under way, as the reference knows it."""

    def __init__(self, caller: int, at_ms: int, tokens: int, amount: int, hold: Hold) -> None:
        self.caller, self.at_ms, self.tokens, self.amount, self.hold = caller, at_ms, tokens, amount, hold


class Bench(RuleBasedStateMachine):
    """Drives counters and reference side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = NOW_MS
        self.loop = asyncio.new_event_loop()
        self.ledger: list[Entry] = []
        self.credits = OPENING
        self.open: list[Open] = []
        self.levels: dict[str, tuple[Fraction, int]] = {}
        self.crossed: list[Crossing] = []
        self.meters = [meters(caller, "m", Limits(), "") for caller in CALLERS]
        self.prepare()
        self.bound = [self.counters.bind(of) for of in self.meters]

    counters: Any

    def prepare(self) -> None:
        """Makes the counters."""
        self.counters = MemoryCounters(
            self,
            UTC,
            clock_ms=lambda: self.now_ms,
            wall_ms=lambda: self.now_ms,
            on_crossing=self.crossed.append,
        )

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(work)

    def quiet(self) -> None:
        """Waits until everything that was settled has arrived."""

    def teardown(self) -> None:
        for one in self.open:
            one.hold.settle(0, 0)
        self.quiet()
        self.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def close(self) -> None:
        """Closes what `prepare` has opened."""

    # What the ledger would say; the port `Spending`.

    async def spent(self, account: str, since_ms: int) -> int:
        return sum(one.price for one in self.ledger if account in one.accounts and one.at_ms >= since_ms)

    async def balance(self, team_id: str) -> int:
        return self.credits - await self.spent(f"team:{team_id}", 0)

    async def credited(self, team_id: str) -> int:
        return self.credits

    # The reference.

    def level(self, rate: Rate) -> Fraction:
        level, at_ms = self.levels.get(rate.id, (Fraction(rate.limit), self.now_ms))
        return min(Fraction(rate.limit), level + Fraction((self.now_ms - at_ms) * rate.limit, rate.period_ms))

    def take(self, caller: int, requests: int, tokens: int) -> None:
        for meter in self.meters[caller]:
            if isinstance(meter, Rate):
                count = requests if meter.of == "requests" else tokens
                self.levels[meter.id] = (min(Fraction(meter.limit), self.level(meter) - count), self.now_ms)

    def used(self, fund: Fund, at_ms: int) -> int:
        """Spent and reserved of the period around a time."""
        start_ms, end_ms = bounds(fund.budget.period if fund.budget else "once", UTC, at_ms)
        lines = [(one.accounts, one.at_ms, one.price) for one in self.ledger]
        lines += [(accounts_of(one.caller), one.at_ms, one.amount) for one in self.open]
        return sum(price for who, at, price in lines if fund.account in who and start_ms <= at < end_ms)

    def left(self, fund: Fund) -> int:
        limit = self.credits if fund.budget is None else fund.budget.amount_nanodollars
        return limit - self.used(fund, self.now_ms)

    def expected(self, caller: int, tokens: int, amount: int) -> tuple[type[ApiError], int | None] | None:
        """What should be said: nothing, or which error and how long to wait."""
        waits: list[tuple[int, type[ApiError]]] = []
        full = False
        for meter in self.meters[caller]:
            if isinstance(meter, Size) and tokens > meter.limit:
                return TooManyTokens, None
            if isinstance(meter, Rate):
                count = 1 if meter.of == "requests" else tokens
                if count > meter.limit:
                    return TooManyTokens, None
                lacking = (count - self.level(meter)) * meter.period_ms / meter.limit
                if lacking > 0:
                    kind = RateLimited if meter.of == "requests" else TokensLimited
                    waits.append((-(-lacking.numerator // lacking.denominator), kind))
            if isinstance(meter, Places):
                full |= sum(meter in self.meters[one.caller] for one in self.open) >= meter.limit
        for meter in self.meters[caller]:
            hard = isinstance(meter, Fund) and (meter.budget is None or meter.budget.hard)
            if isinstance(meter, Fund) and hard and amount > self.left(meter):
                return InsufficientQuota, None
        if waits:
            longest = max(waits, key=lambda wait: wait[0])
            return longest[1], longest[0]
        return (RateLimited, 1000) if full else None

    # What happens.

    @rule(caller=st.integers(0, 1), tokens=st.integers(0, 1100), amount=st.integers(0, 400))
    def reserve(self, caller: int, tokens: int, amount: int) -> None:
        expected = self.expected(caller, tokens, amount)
        try:
            hold = self.run(self.bound[caller].reserve(tokens, amount))
        except ApiError as error:
            told = (type(error), error.retry_after_ms)
            assert expected is not None, f"{told} although it fits"
            assert told[1] == expected[1]
            assert told[0] is expected[0] or self.tied(caller, tokens, expected[1])
            return
        assert expected is None
        self.take(caller, 1, tokens)
        self.open.append(Open(caller, self.now_ms, tokens, amount, hold))
        for of, standing in (("requests", hold.requests), ("tokens", hold.tokens)):
            rates = [meter for meter in self.meters[caller] if isinstance(meter, Rate) and meter.of == of]
            lowest = min((max(0, self.level(rate) // 1) for rate in rates), default=None)
            assert (standing.remaining if standing else None) == lowest
            if standing:
                assert standing.reset_ms in {self.full_in_ms(rate) for rate in rates}

    def full_in_ms(self, rate: Rate) -> int:
        lacking = (rate.limit - self.level(rate)) * rate.period_ms / rate.limit
        return -(-lacking.numerator // lacking.denominator)

    def tied(self, caller: int, tokens: int, wait_ms: int | None) -> bool:
        """Whether requests and tokens have to wait equally long, so that either may be told."""
        waits: dict[str, int] = {}
        for meter in self.meters[caller]:
            if isinstance(meter, Rate):
                lacking = (1 if meter.of == "requests" else tokens) - self.level(meter)
                ms = lacking * meter.period_ms / meter.limit
                waits[meter.of] = max(waits.get(meter.of, 0), -(-ms.numerator // ms.denominator))
        return waits["requests"] == waits.get("tokens") == wait_ms

    @precondition(lambda self: self.open)
    @rule(data=st.data(), tokens=st.integers(0, 1500), share=st.integers(0, 120))
    def settle(self, data: st.DataObject, tokens: int, share: int) -> None:
        one = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        price = one.amount * share // 100
        self.ledger.append(Entry(accounts_of(one.caller), one.at_ms, price))
        one.hold.settle(tokens, price)
        one.hold.settle(tokens + 1, price + 1)  # once is enough
        self.quiet()
        self.take(one.caller, 0, tokens - one.tokens)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), tokens=st.integers(0, 300), amount=st.integers(0, 200))
    def retry(self, data: st.DataObject, tokens: int, amount: int) -> None:
        one = data.draw(st.sampled_from(self.open))
        enough = True
        for meter in self.meters[one.caller]:
            if isinstance(meter, Rate) and meter.of == "tokens" and tokens:
                enough &= self.level(meter) >= tokens
            if isinstance(meter, Fund) and (meter.budget is None or meter.budget.hard):
                start_ms = bounds(meter.budget.period if meter.budget else "once", UTC, self.now_ms)[0]
                enough &= one.at_ms < start_ms or amount <= self.left(meter)
        assert self.run(one.hold.spend(tokens, amount)) == enough or self.another_period(one)
        self.ledger.append(Entry(accounts_of(one.caller), one.at_ms, amount))
        self.take(one.caller, 0, tokens)

    def another_period(self, one: Open) -> bool:
        """A request of an earlier period: whether that has money left is of no account."""
        return any(
            one.at_ms < bounds(meter.budget.period, UTC, self.now_ms)[0]
            for meter in self.meters[one.caller]
            if isinstance(meter, Fund) and meter.budget is not None
        )

    @rule(ms=st.one_of(st.integers(1, 3 * MINUTE_MS), st.integers(1, 2 * DAY_MS)))
    def wait(self, ms: int) -> None:
        self.now_ms += ms

    @rule(caller=st.integers(0, 1), tokens=st.integers(1, 900))
    def wait_as_told(self, caller: int, tokens: int) -> None:
        expected = self.expected(caller, tokens, 0)
        if expected is not None and expected[1] is not None and expected[0] is not RateLimited:
            self.now_ms += expected[1] - 1
            self.reserve(caller, tokens, 0)
            self.now_ms += 1
            self.reserve(caller, tokens, 0)

    @rule(amount=st.integers(1, 500))
    def top_up(self, amount: int) -> None:
        self.credits += amount
        self.run(self.counters.refresh_balances())

    @invariant()
    def no_limit_is_passed_by_what_was_admitted(self) -> None:
        for one in {meter.id: meter for of in self.meters for meter in of}.values():
            if isinstance(one, Places):
                assert sum(one in self.meters[other.caller] for other in self.open) <= one.limit

    @invariant()
    def every_threshold_is_told_once(self) -> None:
        told = [(one.fund, one.start_ms, one.percent) for one in self.crossed]
        assert len(set(told)) == len(told)
        for one in self.crossed:
            assert one.spent_nanodollars * 100 >= one.budget.amount_nanodollars * one.percent


def accounts_of(caller: int) -> set[str]:
    return {account.id for account in CALLERS[caller]}


def test_in_memory() -> None:
    run_state_machine_as_test(Bench, settings=settings(max_examples=150, stateful_step_count=60))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with redis(tmp_path_factory.mktemp("redis")) as service:
        yield service


def test_in_redis(server: Redis) -> None:
    numbers = itertools.count()

    class SharedBench(Bench):
        """The same, over a socket."""

        def prepare(self) -> None:
            self.counters = RedisCounters(
                parse_url(server.url),
                self,
                UTC,
                wall_ms=lambda: self.now_ms,
                on_crossing=self.crossed.append,
                options=SharedOptions(
                    prefix=f"{{{next(numbers)}}}:", lease_ms=10**9, now_ms=lambda: self.now_ms
                ),
            )
            self.run(self.counters.start())

        def quiet(self) -> None:
            async def confirmed() -> None:
                while self.counters.unconfirmed:
                    await asyncio.sleep(0)

            self.run(confirmed())

        def close(self) -> None:
            self.run(self.counters.stop())

    run_state_machine_as_test(SharedBench, settings=settings(max_examples=60, stateful_step_count=40))
