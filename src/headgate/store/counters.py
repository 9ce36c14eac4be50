"""Everything that is limited, counted in this process's memory: plain code on the loop, no locks, no waiting.

What was spent before is asked of the ledger once, when a fund is met for the first time. Must not know
requests, models or keys: only meters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import tzinfo

from headgate.core.accounting import Crossing, Spending, Standing
from headgate.core.bucket import Bucket
from headgate.core.calendar import FOREVER_MS, bounds
from headgate.core.errors import Overloaded, StoreError
from headgate.core.exceeded import NEVER, Refusal, exceeded
from headgate.core.limit import Fund, Meter, Places, Rate, Size

SWEEP_ABOVE = 10_000
"""Counters kept before idle ones are looked for: a few megabytes; end users come without number."""
AWAY_RETRY_MS = 1000
"""When to come back while the ledger or Redis is away: they are looked for as often."""
_LONG_AGO_MS = -(2**62)

Clock = Callable[[], int]
"""Milliseconds."""


class RateCounter(Bucket):
    """A bucket and who still has something in it."""

    __slots__ = ("holds",)

    def __init__(self, limit: int, period_ms: int) -> None:
        super().__init__(limit, period_ms)
        self.at_ms = _LONG_AGO_MS
        self.holds = 0


class PlaceCounter:
    """Requests under way."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = 0


class FundCounter:
    """What has been spent of a budget in its present period, or is left of a balance."""

    __slots__ = ("credited", "end_ms", "limit", "meter", "seeding", "spent", "start_ms", "told", "used")

    def __init__(self, meter: Fund) -> None:
        self.meter = meter
        self.limit = meter.budget.amount_nanodollars if meter.budget is not None else 0
        self.credited = 0
        """What had been paid in by hand when that was last looked at; of a balance."""
        self.start_ms = self.end_ms = 0
        self.used = 0
        """Spent and reserved."""
        self.spent = 0
        self.told = 0
        """The highest percentage that was told."""
        self.seeding: asyncio.Task[None] | None = None


class MemoryCounters:
    """The `Counters` port for one process."""

    def __init__(
        self,
        spending: Spending,
        zone: tzinfo,
        *,
        clock_ms: Clock,
        wall_ms: Clock,
        on_crossing: Callable[[Crossing], None],
    ) -> None:
        self.zone = zone
        self.clock_ms = clock_ms
        """For rates: does not jump."""
        self.wall_ms = wall_ms
        """For periods of the calendar."""
        self.sweeps = 0
        """Bounds of an earlier sweep look their counters up again."""
        self._spending = spending
        self._on_crossing = on_crossing
        self._rates: dict[str, RateCounter] = {}
        self._places: dict[str, PlaceCounter] = {}
        self._funds: dict[str, FundCounter] = {}
        self._sweep_above = SWEEP_ABOVE

    def bind(self, meters: tuple[Meter, ...]) -> MemoryBound:
        """The counters of these meters."""
        return MemoryBound(self, meters)

    def replay(self, meters: tuple[Meter, ...], tokens: int, at_ms: int, requests: int = 1) -> None:
        """Counts what an earlier run used against its rates; in order of time (Unix)."""
        at_clock_ms = self.clock_ms() - (self.wall_ms() - at_ms)
        for meter in meters:
            if isinstance(meter, Rate):
                counter = self.rate(meter)
                counter.pay(at_clock_ms)
                counter.take(requests if meter.of == "requests" else tokens)

    async def refresh_balances(self) -> None:
        """Takes over what was paid in and out by hand; raises StoreError."""
        for fund in [fund for fund in self._funds.values() if fund.meter.budget is None and fund.end_ms]:
            credited = await self._spending.credited(team_of(fund.meter))
            fund.limit += credited - fund.credited
            fund.credited = credited

    @property
    def reserved(self) -> int:
        """Nano-dollars that are held for requests under way, in all funds."""
        return sum(fund.used - fund.spent for fund in self._funds.values())

    @property
    def taken(self) -> int:
        """Places that are taken, in all meters."""
        return sum(places.taken for places in self._places.values())

    def rate(self, meter: Rate) -> RateCounter:
        """The counter of a rate, with the limit as it is now."""
        counter = self._rates.get(meter.id)
        if counter is None:
            if len(self._rates) >= self._sweep_above:
                self._sweep()
            counter = self._rates[meter.id] = RateCounter(meter.limit, meter.period_ms)
        counter.limit = meter.limit
        return counter

    def places(self, meter: Places) -> PlaceCounter:
        """The counter of places."""
        return self._places.setdefault(meter.id, PlaceCounter())

    def fund(self, meter: Fund) -> FundCounter:
        """The counter of a fund, with the budget as it is now."""
        fund = self._funds.get(meter.id)
        if fund is None:
            fund = self._funds[meter.id] = FundCounter(meter)
        elif meter.budget is not None and meter.budget != fund.meter.budget:
            fund.meter = meter
            fund.limit = meter.budget.amount_nanodollars
            fund.told = 0
        return fund

    async def seed(self, fund: FundCounter) -> None:
        """Asks the ledger what was spent; of several callers one does."""
        if fund.seeding is None:
            fund.seeding = asyncio.create_task(self._seed(fund))
            fund.seeding.add_done_callback(lambda _: setattr(fund, "seeding", None))
        await asyncio.shield(fund.seeding)

    def roll(self, fund: FundCounter) -> None:
        """Begins the period that has come."""
        assert fund.meter.budget is not None
        fund.start_ms, fund.end_ms = bounds(fund.meter.budget.period, self.zone, self.wall_ms())
        fund.used = fund.spent = fund.told = 0

    def spend(self, fund: FundCounter, amount: int) -> None:
        """Adds to what was spent, and tells of thresholds."""
        fund.spent += amount
        if fund.meter.budget is not None:
            self._tell(fund)

    def _tell(self, fund: FundCounter) -> None:
        budget = fund.meter.budget
        assert budget is not None
        for percent in sorted(budget.warn_percent):
            if fund.told < percent and fund.spent * 100 >= fund.limit * percent:
                fund.told = percent
                self._on_crossing(
                    Crossing(fund.meter.id, fund.meter.account, budget, percent, fund.start_ms, fund.spent)
                )

    async def _seed(self, fund: FundCounter) -> None:
        meter = fund.meter
        if meter.budget is None:
            fund.limit, fund.credited = await read_balance(self._spending, meter)
            fund.end_ms = FOREVER_MS
            return
        start_ms, end_ms = bounds(meter.budget.period, self.zone, self.wall_ms())
        spent = await self._spending.spent(meter.account, start_ms)
        fund.used = fund.spent = spent
        fund.start_ms, fund.end_ms = start_ms, end_ms
        self._tell(fund)

    def _sweep(self) -> None:
        """Drops counters that say nothing: full buckets and empty places."""
        now_ms = self.clock_ms()
        self._rates = {
            id_: counter for id_, counter in self._rates.items() if counter.holds or counter.pay(now_ms)
        }
        self._places = {id_: places for id_, places in self._places.items() if places.taken}
        self._sweep_above = max(SWEEP_ABOVE, 2 * len(self._rates))
        self.sweeps += 1


class MemoryBound:
    """The `Bound` port: the counters that a kind of request passes, sorted by what is asked of them."""

    __slots__ = ("_counters", "_funds", "_meters", "_places", "_rates", "_sizes", "_sweeps")

    def __init__(self, counters: MemoryCounters, meters: tuple[Meter, ...]) -> None:
        self._counters = counters
        self._meters = meters
        self._look_up()

    async def reserve(self, tokens: int, amount_nanodollars: int) -> MemoryHold:
        """Takes from every counter or from none.

        Raises RateLimited or InsufficientQuota, and Overloaded where the ledger has to be asked and is away.
        """
        for _, fund in self._funds:
            while not fund.end_ms:
                try:
                    await self._counters.seed(fund)
                except StoreError:
                    raise cannot_tell() from None
        return self.take(tokens, amount_nanodollars)

    def take(self, tokens: int, amount: int) -> MemoryHold:
        """The same, where the ledger need not be asked."""
        counters = self._counters
        if self._sweeps != counters.sweeps:
            self._look_up()
        now_ms = counters.clock_ms()
        if self._refuses(tokens, amount, now_ms):
            raise exceeded(self._refusals(tokens, amount, now_ms), tokens)
        hold = MemoryHold(counters, self._rates, self._places, tokens, amount)
        for meter, rate in self._rates:
            rate.take(1 if meter.of == "requests" else tokens)
            rate.holds += 1
            standing = Standing(rate.limit, rate.remaining, rate.reset_ms)
            if meter.of == "requests":
                hold.requests = _tighter(hold.requests, standing)
            else:
                hold.tokens = _tighter(hold.tokens, standing)
        for _, places in self._places:
            places.taken += 1
        for _, fund in self._funds:
            fund.used += amount
            hold.funds.append((fund, fund.start_ms))
        return hold

    def _refuses(self, tokens: int, amount: int, now_ms: int) -> bool:
        for size in self._sizes:
            if tokens > size.limit:
                return True
        for meter, rate in self._rates:
            if rate.wait_ms(1 if meter.of == "requests" else tokens, now_ms):
                return True
        for place, places in self._places:
            if places.taken >= place.limit:
                return True
        return any(not _covers(self._counters, fund, amount) for _, fund in self._funds)

    def _refusals(self, tokens: int, amount: int, now_ms: int) -> list[Refusal]:
        found: list[Refusal] = [(size, NEVER) for size in self._sizes if tokens > size.limit]
        for meter, rate in self._rates:
            wait_ms = rate.wait_ms(1 if meter.of == "requests" else tokens, now_ms)
            if wait_ms:
                found.append((meter, wait_ms))
        found += [(place, 0) for place, places in self._places if places.taken >= place.limit]
        found += [(meter, NEVER) for meter, fund in self._funds if not _covers(self._counters, fund, amount)]
        return found

    def _look_up(self) -> None:
        counters, meters = self._counters, self._meters
        self._sizes = [meter for meter in meters if isinstance(meter, Size)]
        self._sweeps = -1
        while self._sweeps != counters.sweeps:  # making one may have dropped another that was just found
            self._sweeps = counters.sweeps
            self._rates = [(meter, counters.rate(meter)) for meter in meters if isinstance(meter, Rate)]
        self._places = [(meter, counters.places(meter)) for meter in meters if isinstance(meter, Places)]
        self._funds = [(meter, counters.fund(meter)) for meter in meters if isinstance(meter, Fund)]


class MemoryHold:
    """The `Hold` port."""

    __slots__ = ("_amount", "_counters", "_places", "_rates", "_settled", "_tokens", "funds", "requests",
                 "tokens")  # fmt: skip

    def __init__(
        self,
        counters: MemoryCounters,
        rates: list[tuple[Rate, RateCounter]],
        places: list[tuple[Places, PlaceCounter]],
        tokens: int,
        amount: int,
    ) -> None:
        self._counters = counters
        self._rates = rates
        self._places = places
        self._tokens = tokens
        self._amount = amount
        self._settled = False
        self.funds: list[tuple[FundCounter, int]] = []
        """With the start of the period in which it was taken: there it stays."""
        self.requests: Standing | None = None
        self.tokens: Standing | None = None

    async def spend(self, tokens: int, amount_nanodollars: int) -> bool:
        """Books what an attempt used and reserves the same again."""
        now_ms = self._counters.clock_ms()
        rates = [rate for meter, rate in self._rates if meter.of == "tokens"]
        enough = all(not tokens or rate.wait_ms(tokens, now_ms) == 0 for rate in rates) and all(
            fund.start_ms != start_ms or _covers(self._counters, fund, amount_nanodollars)
            for fund, start_ms in self.funds
        )
        for rate in rates:
            rate.take(tokens)
        self._book(amount_nanodollars, 0)
        return enough

    def settle(self, tokens: int, amount_nanodollars: int) -> None:
        """Replaces what is reserved by what was used."""
        if self._settled:
            return
        self._settled = True
        for meter, rate in self._rates:
            rate.holds -= 1
            if meter.of == "tokens" and tokens != self._tokens:
                rate.pay(self._counters.clock_ms())
                rate.take(tokens - self._tokens)
        for _, places in self._places:
            places.taken -= 1
        self._book(amount_nanodollars, self._amount)

    def _book(self, amount: int, reserved: int) -> None:
        for fund, start_ms in self.funds:
            if fund.start_ms == start_ms:  # else its period is over, and nobody asks for that any more
                fund.used += amount - reserved
                self._counters.spend(fund, amount)


def _covers(counters: MemoryCounters, fund: FundCounter, amount: int) -> bool:
    budget = fund.meter.budget
    if budget is not None:
        if counters.wall_ms() >= fund.end_ms:
            counters.roll(fund)
        if not budget.hard:
            return True
    return fund.used + amount <= fund.limit


def _tighter(one: Standing | None, other: Standing) -> Standing:
    return other if one is None or other.remaining < one.remaining else one


def team_of(meter: Fund) -> str:
    """The id of the team whose balance it is."""
    return meter.account.partition(":")[2]


async def read_balance(spending: Spending, meter: Fund) -> tuple[int, int]:
    """A balance, and what of it was paid in by hand: both of one moment. Raises StoreError."""
    while True:
        before = await spending.credited(team_of(meter))
        balance = await spending.balance(team_of(meter))
        if await spending.credited(team_of(meter)) == before:
            return balance, before


def cannot_tell() -> Overloaded:
    """What a client is told while nobody can say what it has spent."""
    return Overloaded("The server cannot check budgets now.", retry_after_ms=AWAY_RETRY_MS)
