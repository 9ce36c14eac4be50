"""One request against shared counters: what it sends, what the answers mean, and that it is settled.

A part of `counters_redis`, which owns the connection and what is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from headgate.core.accounting import Hold, Standing
from headgate.core.calendar import FOREVER_MS, bounds
from headgate.core.errors import StoreError
from headgate.core.exceeded import NEVER, Refusal, exceeded
from headgate.core.limit import Fund, Meter, Places, Rate, Size
from headgate.core.resp import Reply, arguments
from headgate.store.counters import cannot_tell, read_balance
from headgate.store.redis import RedisAway

if TYPE_CHECKING:
    from headgate.store.counters_redis import RedisCounters

Answer = asyncio.Future[Reply]

KEEP_PERIOD_MS = 7 * 86_400_000
"""How long a past period's sums stay: requests that began in it may still be under way."""
TRIES = 3
"""Of a reservation whose funds are not known yet: each is asked of the ledger once, then it is there."""


class RedisBound:
    """The `Bound` port: everything of a command that stays the same, made once."""

    def __init__(self, counters: RedisCounters, meters: tuple[Meter, ...]) -> None:
        self._counters = counters
        self._sizes = [meter for meter in meters if isinstance(meter, Size)]
        self._counted = [meter for meter in meters if not isinstance(meter, Size)]
        self._made: _Made | None = None

    async def reserve(self, tokens: int, amount_nanodollars: int) -> Hold:
        """Takes from every counter or from none."""
        counters = self._counters
        too_small: list[Refusal] = [(size, NEVER) for size in self._sizes if tokens > size.limit]
        if too_small:
            raise exceeded(too_small, tokens)
        made = self._made
        if made is None or counters.wall_ms() >= made.until_ms:
            made = self._made = self._make()
        for _ in range(TRIES):
            hold = RedisHold(counters, made, tokens, amount_nanodollars)
            try:
                answer = await hold.reserve()
            except RedisAway:
                # It may have been done all the same: then it is undone.
                hold.settle(0, 0)
                return counters.away()
            except asyncio.CancelledError:
                hold.settle(0, 0)
                raise
            if answer[0] == "+":
                made.meet(counters)
                return hold
            if answer[0] == "-":
                refusals = [made.refusal(word) for word in answer[1:].split(" ")]
                raise exceeded(refusals, tokens)
            try:
                await made.seed(counters, [int(word) for word in answer[1:].split(" ")])
            except RedisAway:
                break
            except StoreError:
                raise cannot_tell() from None
        return counters.away()

    def _make(self) -> _Made:
        counters = self._counters
        keys: list[bytes] = []
        words: list[bytes] = []
        funds: list[tuple[int, Fund, int, int]] = []
        places: list[bytes] = []
        until_ms = FOREVER_MS
        for index, meter in enumerate(self._counted):
            if isinstance(meter, Fund):
                start_ms, end_ms = 0, FOREVER_MS
                if meter.budget is not None:
                    start_ms, end_ms = bounds(meter.budget.period, counters.zone, counters.wall_ms())
                until_ms = min(until_ms, end_ms)
                keys.append(counters.fund_key(meter.id, start_ms))
                funds.append((index, meter, start_ms, end_ms))
            else:
                keys.append((counters.prefix + meter.id).encode())
                if isinstance(meter, Places):
                    places.append(keys[-1])
            words += _words(meter)
        undo = msgspec.json.encode(
            [[key.decode() for key in places], [keys[index].decode() for index, *_ in funds]]
        )
        return _Made(
            meters=self._counted,
            keys=keys,
            head=counters.keys(keys),
            undo=arguments([undo]),
            words=arguments(words),
            word_count=len(words),
            funds=funds,
            until_ms=until_ms,
        )


class _Made(msgspec.Struct, eq=False):
    """The parts of the commands for one tuple of meters, good until a period ends."""

    meters: Sequence[Meter]
    keys: list[bytes]
    head: tuple[int, bytes]
    undo: bytes
    words: bytes
    word_count: int
    funds: list[tuple[int, Fund, int, int]]
    """Index, meter, and its period."""
    until_ms: int

    def refusal(self, word: str) -> Refusal:
        """What the script says of one meter."""
        index, _, wait_ms = word.partition(":")
        return self.meters[int(index)], int(wait_ms)

    def standings(self, answer: str) -> tuple[Standing | None, Standing | None]:
        """How requests and tokens stand, each by the rate that has least left."""
        words = iter(answer.split(" ")[1:])
        tightest: dict[str, Standing] = {}
        for meter in self.meters:
            if isinstance(meter, Rate):
                left, _, reset_ms = next(words).partition(":")
                standing = Standing(meter.limit, int(left), int(reset_ms))
                known = tightest.get(meter.of)
                if known is None or standing.remaining < known.remaining:
                    tightest[meter.of] = standing
        return tightest.get("requests"), tightest.get("tokens")

    async def seed(self, counters: RedisCounters, indexes: list[int]) -> None:
        """Brings what the ledger says about funds that Redis does not know; raises RedisAway."""
        for index, meter, start_ms, end_ms in self.funds:
            if index not in indexes:
                continue
            spent = limit = credited = lifetime_ms = 0
            if meter.budget is None:
                limit, credited = await read_balance(counters.spending, meter)
            else:
                spent = await counters.spending.spent(meter.account, start_ms)
                if end_ms != FOREVER_MS:
                    lifetime_ms = end_ms - counters.wall_ms() + KEEP_PERIOD_MS
            await counters.ask(
                counters.keys([self.keys[index]]),
                [b"seed", b"%d" % spent, b"%d" % limit, b"%d" % lifetime_ms, b"%d" % credited],
            )

    def meet(self, counters: RedisCounters) -> None:
        """Looks once at the thresholds that were passed before: whoever passed them may have died then."""
        for index, meter, start_ms, _ in self.funds:
            key = self.keys[index]
            if meter.budget is None:
                counters.balances[meter.id] = meter
            elif key not in counters.met:
                counters.met.add(key)
                counters.later(counters.look(key, meter, start_ms))


def _words(meter: Meter) -> list[bytes]:
    """A meter as the script reads it: kind, limit, period."""
    if isinstance(meter, Rate):
        return [b"r" if meter.of == "requests" else b"t", b"%d" % meter.limit, b"%d" % meter.period_ms]
    if isinstance(meter, Fund):
        if meter.budget is None:
            return [b"b", b"0", b"0"]
        return [b"f" if meter.budget.hard else b"s", b"%d" % meter.budget.amount_nanodollars, b"0"]
    return [b"p", b"%d" % meter.limit, b"0"]


class RedisHold:
    """The `Hold` port."""

    __slots__ = ("_amount", "_counters", "_epoch", "_made", "_settled", "_tokens", "_used", "id", "requests",
                 "tokens")  # fmt: skip

    def __init__(self, counters: RedisCounters, made: _Made, tokens: int, amount: int) -> None:
        self._counters = counters
        self._made = made
        self._tokens = tokens
        self._amount = amount
        self._epoch = b""
        self._settled = False
        self._used = (0, 0)
        self.id = counters.new_hold()
        self.requests: Standing | None = None
        self.tokens: Standing | None = None

    async def reserve(self) -> str:
        """Asks for it; raises RedisAway. The answer's first letter tells what came of it."""
        made = self._made
        first = [b"reserve", self.id, b"%d" % self._tokens, b"%d" % self._amount]
        answer = await self._counters.ask(made.head, first, made.undo + made.words, 1 + made.word_count)
        if answer[0] == "+":
            self._epoch = answer[1:].partition(" ")[0].encode()
            self.requests, self.tokens = made.standings(answer)
        return answer

    async def spend(self, tokens: int, amount_nanodollars: int) -> bool:
        """Books what an attempt used and reserves the same again."""
        made = self._made
        amount = b"%d" % amount_nanodollars
        first = [b"spend", self.id, b"%d" % tokens, amount, amount]
        try:
            answer = await self._counters.ask(made.head, first, made.words, made.word_count)
        except RedisAway:
            return self._counters.when_away == "allow"
        enough, _, sums = answer.partition(" ")
        self._tell(sums, amount_nanodollars)
        return enough == "1"

    def settle(self, tokens: int, amount_nanodollars: int) -> None:
        """Replaces what is reserved by what was used, as soon as Redis is there."""
        if not self._settled:
            self._settled = True
            self._used = (tokens, amount_nanodollars)
            self._counters.send(self)

    def send(self) -> Answer:
        """Sends the settlement; to do it twice does no harm."""
        made = self._made
        tokens, amount = self._used
        first = [b"settle", self.id, self._epoch, b"%d" % tokens, b"%d" % self._tokens]
        first += [b"%d" % amount, b"%d" % (amount - self._amount)]
        return self._counters.call(made.head, first, made.words, made.word_count)

    def confirmed(self, sums: str) -> None:
        """Redis has settled it; `sums` are what was spent of each fund."""
        self._tell(sums, self._used[1])

    def _tell(self, sums: str, amount: int) -> None:
        for (_, meter, start_ms, _), after in zip(self._made.funds, sums.split(), strict=False):
            self._counters.tell(meter, start_ms, int(after) - amount, int(after))


class LooseHold:
    """The `Hold` of a request that was let through uncounted."""

    requests: Standing | None = None
    tokens: Standing | None = None

    async def spend(self, tokens: int, amount_nanodollars: int) -> bool:
        """Nothing is booked."""
        return True

    def settle(self, tokens: int, amount_nanodollars: int) -> None:
        """Nothing is held."""


LOOSE = LooseHold()
