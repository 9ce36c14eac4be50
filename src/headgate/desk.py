"""The gate's accounting, made from settings and books: counters, prices, and who is told of thresholds.

Joins what `gateway.reserve` needs with the store, Redis and webhooks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from typing import Any

import msgspec
from sqlalchemy import Connection

from headgate.backends.prices import default_prices
from headgate.backends.webhook import NotDelivered, deliver
from headgate.core.accounting import Crossing
from headgate.core.errors import SettingsError, StoreError
from headgate.core.limit import DAY_MS
from headgate.core.ports import Principal
from headgate.core.price import Price
from headgate.core.price_book import Listed, PriceBook
from headgate.core.settings import Settings
from headgate.core.settings_prices import PriceTerms
from headgate.gateway.reserve import Reserve, Rules
from headgate.store.books import Books, time_zone
from headgate.store.changes import BALANCES, PRICES
from headgate.store.counters import MemoryCounters
from headgate.store.counters_redis import RedisCounters, SharedOptions
from headgate.store.prices import every_price
from headgate.store.recent import recent
from headgate.store.records import Delivery
from headgate.store.redis import RedisAway, parse_url
from headgate.store.seal import KEY_VARIABLE, Seal, load_seal
from headgate.store.webhooks import announce, claim, delivered, due, failed, get_webhook

_log = logging.getLogger("headgate")

DELIVERY_STEP_S = 1.0
"""How often it is looked for what is due: an operator reads minutes later."""
CLAIM_MS = 60_000
"""A process that dies with a delivery leaves it to another after this; it may arrive twice, with one id."""
THRESHOLD = "budget.threshold"


class Desk:
    """Everything about money and limits that the gate needs; one for the process."""

    def __init__(self, settings: Settings, books: Books) -> None:
        """Raises SettingsError for a Redis URL that cannot be used."""
        self._books = books
        self._seal: Seal | None = None
        self._settings = settings
        self._own: list[Listed] = []
        self._crossed: deque[Crossing] = deque()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._counters = self._make_counters(settings)
        self.reserve = Reserve(self._counters, self._rules())
        books.watch.on_change(PRICES, self._read_prices)
        books.watch.on_change(BALANCES, self._read_balances)

    async def start(self) -> None:
        """Connects to Redis, where there is one, and begins to deliver."""
        if isinstance(self._counters, RedisCounters):
            await self._counters.start()
        else:
            await self._restore_rates(self._counters)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._announce()), loop.create_task(self._deliver())]

    async def stop(self) -> None:
        """Ends it; what was not delivered waits in the database for the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if isinstance(self._counters, RedisCounters):
            await self._counters.stop()

    async def _restore_rates(self, counters: MemoryCounters) -> None:
        """Counts what earlier runs used against the rates; budgets ask the ledger when they are met."""
        holders = {holder.key_id: holder for holder in self._books.table.holders()}
        limited = [self.reserve.rules.models, *(holder.accounts for holder in holders.values())]
        if not any(limited):
            return
        since_ms = _wall_ms() - DAY_MS
        try:
            used = await asyncio.to_thread(lambda: list(recent(self._books.journal, since_ms)))
        except OSError as error:
            _log.error("rates begin anew: the journal cannot be read: %s", error.strerror)
            return
        seen = ""
        for opened, tokens in used:
            holder = holders.get(opened.key_id) or Principal(opened.key_id, "")
            first = opened.request_id != seen  # tries of one request are one request
            seen = opened.request_id
            meters = self.reserve.meters(holder, opened.model, opened.held.user)
            counters.replay(meters, tokens, opened.at_ms, requests=int(first))

    def configure(self, settings: Settings) -> None:
        """Takes settings anew; where it is counted stays as it is until the next start."""
        self._settings = settings
        self.reserve.change(self._rules())

    def _make_counters(self, settings: Settings) -> MemoryCounters | RedisCounters:
        limits, spending = settings.limits, self._books.spending
        zone = time_zone(settings.ledger.time_zone)
        if limits.redis is None:
            return MemoryCounters(
                spending, zone, clock_ms=_clock_ms, wall_ms=_wall_ms, on_crossing=self._take
            )
        options = SharedOptions(
            prefix=limits.redis_prefix,
            when_away=limits.redis_away,
            lease_ms=limits.redis_lease_ms,
            timeout_ms=limits.redis_timeout_ms,
        )
        place = parse_url(limits.redis.reveal())
        return RedisCounters(place, spending, zone, wall_ms=_wall_ms, on_crossing=self._take, options=options)

    def _rules(self) -> Rules:
        settings = self._settings
        addresses = {upstream.name: upstream.base_url for upstream in settings.upstreams}

        def defaults(upstream: str, model: str) -> tuple[Price, ...]:
            return default_prices(addresses[upstream], model) if upstream in addresses else ()

        configured = [Listed(one.model, one.upstream or "", one.of_time()) for one in settings.prices]
        book = PriceBook(self._own, configured, defaults)
        # Those that come along are read now, and not by the first request.
        for upstream in settings.upstreams:
            for model in upstream.models:
                book.tariff(model.name, upstream.name, model.sent_as)
        limits = settings.limits
        return Rules(book, limits.models, limits.answer_tokens, limits.answers)

    async def _read_prices(self) -> None:
        rows = await self._books.database.read(every_price)
        own = []
        for row in rows:
            try:
                terms = msgspec.convert(row.price, PriceTerms)
            except msgspec.ValidationError as error:
                _log.error("price %s cannot be used: %s", row.id, error)
                continue
            own.append(Listed(row.model, row.upstream, terms.priced(row.valid_from_ms, row.valid_until_ms)))
        self._own = own
        self.reserve.change(self._rules())

    async def _read_balances(self) -> None:
        try:
            await self._counters.refresh_balances()
        except RedisAway as error:
            raise StoreError(f"balances in Redis stay as they were: {error}") from None

    # --- thresholds -------------------------------------------------------------------------------

    def _take(self, crossing: Crossing) -> None:
        self._crossed.append(crossing)
        self._news.set()

    async def _announce(self) -> None:
        """Puts what was crossed on its way; until it is in the database the next start would see it again."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._crossed:
                crossing = self._crossed[0]
                try:
                    await self._books.database.write(_announce, crossing)
                except StoreError as error:
                    _log.error("a budget's threshold is told later: %s", error)
                    await asyncio.sleep(DELIVERY_STEP_S)
                    continue
                self._crossed.popleft()

    async def _deliver(self) -> None:
        while True:
            await asyncio.sleep(DELIVERY_STEP_S)
            try:
                for delivery in await self._books.database.read(_due):
                    if await self._books.database.write(_claim, delivery):
                        await self._deliver_one(delivery)
            except StoreError as error:
                _log.error("webhooks wait: %s", error)

    async def _deliver_one(self, delivery: Delivery) -> None:
        database = self._books.database
        webhook = await database.read(get_webhook, delivery.webhook_id)
        now_ms = _wall_ms()
        body = msgspec.json.encode(
            {
                "type": delivery.event,
                "timestamp": _moment(delivery.created_ms),
                "data": delivery.body,
            }
        )
        try:
            if self._seal is None:
                self._seal = load_seal(self._books.folder, os.environ.get(KEY_VARIABLE))
            secret = self._seal.open(webhook.secret, f"webhook:{webhook.id}")
            await deliver(webhook.url, secret, f"evt_{delivery.id}", now_ms // 1000, body)
        except (NotDelivered, StoreError, SettingsError) as error:
            _log.warning("webhook %s, delivery %d: %s", webhook.id, delivery.id, error)
            await database.write(_failed, delivery.id, str(error))
        else:
            await database.write(_delivered, delivery.id)


def _announce(connection: Connection, crossing: Crossing) -> int:
    body: dict[str, Any] = {
        "account": crossing.account,
        "period": crossing.budget.period,
        "period_start": _moment(crossing.start_ms),
        "hard": crossing.budget.hard,
        "percent": crossing.percent,
        "spent_nanodollars": crossing.spent_nanodollars,
        "amount_nanodollars": crossing.budget.amount_nanodollars,
    }
    amount = crossing.budget.amount_nanodollars
    subject = f"{crossing.fund}@{crossing.start_ms}/{amount}/{crossing.percent}"
    return announce(connection, THRESHOLD, subject, body, now_ms=_wall_ms())


def _due(connection: Connection) -> list[Delivery]:
    return due(connection, now_ms=_wall_ms())


def _claim(connection: Connection, delivery: Delivery) -> bool:
    return claim(connection, delivery, until_ms=_wall_ms() + CLAIM_MS)


def _failed(connection: Connection, delivery_id: int, failure: str) -> None:
    failed(connection, delivery_id, failure, now_ms=_wall_ms())


def _delivered(connection: Connection, delivery_id: int) -> None:
    delivered(connection, delivery_id, now_ms=_wall_ms())


def _moment(at_ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ms // 1000))


def _clock_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
