"""The same counters for several processes: in Redis or Valkey, one round trip for each reservation.

The arithmetic is in counters.lua. A process that dies leaves holds behind; another one settles them as used
when its lease is over. Settlements that Redis did not confirm are sent again until it does.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Callable, Coroutine
from datetime import tzinfo
from pathlib import Path
from typing import Literal

import msgspec

from headgate.core.accounting import Crossing, Hold, Spending
from headgate.core.errors import Overloaded
from headgate.core.limit import Fund, Meter
from headgate.core.resp import ErrorReply, Reply, arguments, command
from headgate.store.counters import AWAY_RETRY_MS, team_of
from headgate.store.counters_redis_hold import LOOSE, Answer, RedisBound, RedisHold
from headgate.store.redis import Redis, RedisAway, RedisPlace

_log = logging.getLogger(__name__)

SCRIPT = Path(__file__).with_name("counters.lua").read_bytes()
_SHA = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()

LEASE_MS = 15_000
"""A process that has not been heard of for so long is dead; it is heard of three times as often."""
TIMEOUT_MS = 1000
"""An answer takes less than a millisecond; what takes a second is away."""
_KEEP_REAPED_MS = 86_400_000
"""A process that was only asleep may come back and settle."""


class SharedOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator says about shared counters; tests say more."""

    prefix: str = "{headgate}:"
    """Of every key; the braces keep them all on one node of a cluster."""
    when_away: Literal["refuse", "allow"] = "refuse"
    lease_ms: int = LEASE_MS
    timeout_ms: int = TIMEOUT_MS
    now_ms: Callable[[], int] | None = None
    """Replaces Redis's clock."""


class RedisCounters:
    """The `Counters` port, shared by every process that has the same Redis and prefix."""

    def __init__(
        self,
        place: RedisPlace,
        spending: Spending,
        zone: tzinfo,
        *,
        wall_ms: Callable[[], int],
        on_crossing: Callable[[Crossing], None],
        options: SharedOptions,
    ) -> None:
        self.zone = zone
        self.wall_ms = wall_ms
        self.prefix = options.prefix
        self.when_away = options.when_away
        self.on_crossing = on_crossing
        self.spending = spending
        self.balances: dict[str, Fund] = {}
        """Balances that were asked for since the start."""
        self.met: set[bytes] = set()
        """Funds whose thresholds were looked at since the start."""
        self._process = secrets.token_hex(8)
        self._lease_ms = options.lease_ms
        self._now_ms = options.now_ms
        self._redis = Redis(place, timeout_ms=options.timeout_ms, scripts=[SCRIPT], on_open=self._resend)
        self._holds = 0
        self._unconfirmed: dict[bytes, RedisHold] = {}
        self._beater: asyncio.Task[None] | None = None
        self._asked: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connects; a Redis that is away now is waited for in the background, and treated as away."""
        try:
            await self._redis.start()
        except RedisAway as error:
            _log.error("%s; until it is back, requests that are limited are %s", error, self._policy())
        self._beater = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        """Waits a moment for settlements to be confirmed, and closes the connection."""
        if self._beater is not None:
            self._beater.cancel()
            await asyncio.gather(self._beater, *self._asked, return_exceptions=True)
        for _ in range(20):
            if not self._unconfirmed or not self._redis.connected:
                break
            await asyncio.sleep(0.05)
        await self._redis.stop()

    def bind(self, meters: tuple[Meter, ...]) -> RedisBound:
        """The counters of these meters."""
        return RedisBound(self, meters)

    async def refresh_balances(self) -> None:
        """Takes over what was paid in and out by hand; raises StoreError, and RedisAway."""
        for meter in list(self.balances.values()):
            credited = await self.spending.credited(team_of(meter))
            await self.ask(self.keys([self.fund_key(meter.id, 0)]), [b"credit", b"%d" % credited])

    @property
    def unconfirmed(self) -> int:
        """Settlements that Redis has not answered yet."""
        return len(self._unconfirmed)

    def keys(self, keys: list[bytes]) -> tuple[int, bytes]:
        """The first part of a command on these keys, and how many arguments it has."""
        every = [*map(self._key, ("epoch", f"holds:{self._process}", f"reaped:{self._process}", "processes"))]
        every += keys
        return 3 + len(every), arguments([b"EVALSHA", _SHA, b"%d" % len(every), *every])

    def fund_key(self, fund_id: str, start_ms: int) -> bytes:
        """Where a fund's sums of a period are."""
        return self._key(f"{fund_id}@{start_ms}")

    def new_hold(self) -> bytes:
        """An id that no other hold of this process has."""
        self._holds += 1
        return b"%d" % self._holds

    def call(self, head: tuple[int, bytes], first: list[bytes], rest: bytes = b"", more: int = 0) -> Answer:
        """Runs the script: `head` from `keys`, then an action, the time and its arguments."""
        now = b"%d" % self._now_ms() if self._now_ms is not None else b""
        words = arguments([first[0], now, *first[1:]])
        return self._redis.call(command(head[0] + 1 + len(first) + more, head[1], words, rest))

    async def ask(self, head: tuple[int, bytes], first: list[bytes], rest: bytes = b"", more: int = 0) -> str:
        """The script's answer; raises RedisAway for none, and for an error."""
        return self.text(await self.call(head, first, rest, more))

    def text(self, reply: Reply) -> str:
        """An answer of the script; raises RedisAway for an error."""
        if isinstance(reply, bytes):
            return reply.decode()
        if isinstance(reply, ErrorReply):
            if reply.startswith("NOSCRIPT"):
                self._redis.reset()
            else:
                _log.error("Redis: %s", reply)
        raise RedisAway("Redis did not do what it was asked")

    def away(self) -> Hold:
        """What a request gets while Redis is away: nothing that counts, or a refusal."""
        if self.when_away == "allow":
            return LOOSE
        raise Overloaded("The server cannot check limits now.", retry_after_ms=AWAY_RETRY_MS)

    def send(self, hold: RedisHold) -> None:
        """Sends a settlement, and keeps it until it is confirmed."""
        self._unconfirmed[hold.id] = hold
        hold.send().add_done_callback(lambda answer: self._confirmed(hold, answer))

    async def look(self, key: bytes, meter: Fund, start_ms: int) -> None:
        """Tells of every threshold of a fund that has been passed."""
        try:
            reply = await self._redis.call(command(3, arguments([b"HGET", key, b"s"])))
        except RedisAway:
            self.met.discard(key)
            return
        if isinstance(reply, bytes):
            self.tell(meter, start_ms, -1, int(reply))

    def later(self, work: Coroutine[None, None, None]) -> None:
        """Does something beside the requests."""
        task = asyncio.create_task(work)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    def tell(self, meter: Fund, start_ms: int, before: int, after: int) -> None:
        """Tells of the thresholds between two sums; -1 as the first one means every threshold."""
        budget = meter.budget
        if budget is None:
            return
        for percent in sorted(budget.warn_percent):
            threshold = budget.amount_nanodollars * percent
            if before * 100 < threshold <= after * 100:
                self.on_crossing(Crossing(meter.id, meter.account, budget, percent, start_ms, after))

    def _confirmed(self, hold: RedisHold, answer: Answer) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return  # sent again on the next connection
        try:
            text = self.text(answer.result())
        except RedisAway:
            return  # and here with the next beat
        if self._unconfirmed.pop(hold.id, None) is not None:
            hold.confirmed(text)

    def _resend(self) -> None:
        for hold in list(self._unconfirmed.values()):
            self.send(hold)

    async def _beat(self) -> None:
        head = self.keys([])
        first = [b"beat", self._process.encode(), b"%d" % self._lease_ms]
        first += [self._key("holds:"), self._key("reaped:"), b"%d" % _KEEP_REAPED_MS]
        stuck: set[bytes] = set()
        while True:
            try:
                reaped = int(await self.ask(head, first))
                if reaped:
                    _log.warning("%d requests of a process that is gone were settled as unknown", reaped)
            except RedisAway:
                pass
            for id_ in stuck & self._unconfirmed.keys():
                self.send(self._unconfirmed[id_])
            stuck = set(self._unconfirmed)
            await asyncio.sleep(self._lease_ms / 3000)

    def _key(self, name: str) -> bytes:
        return (self.prefix + name).encode()

    def _policy(self) -> str:
        return "refused" if self.when_away == "refuse" else "let through uncounted"
