"""What things cost: prices by unit, tier and date, and the exact sum of a usage. Pure; whole numbers only.

A price is nano-dollars per million units. A sum is in millionths of a nano-dollar and exact; `money.charge`
rounds it, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

DAY_S = 86_400


class Rates(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Prices by unit; `derive` fills in those that are like another."""

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    input_audio: int = 0
    input_image: int = 0
    output: int = 0
    reasoning: int = 0
    output_audio: int = 0
    output_image: int = 0
    image: int = 0
    """Of each picture that is made; by size and quality in `Price.images`."""
    second: int = 0
    character: int = 0
    request: int = 0


FREE_RATES = Rates()

_LIKE = {
    "cached_input": "input",
    "cache_write": "input",
    "input_audio": "input",
    "input_image": "input",
    "reasoning": "output",
    "output_audio": "output",
    "output_image": "output",
}
"""What a unit costs that has no price of its own."""


def derive(**prices: int | None) -> Rates:
    """Rates from the prices that are known: an unknown one is that of the wider unit, or nothing."""
    known = {name: price for name, price in prices.items() if price is not None}
    for name, wider in _LIKE.items():
        if name not in known and wider in known:
            known[name] = known[wider]
    return Rates(**known)


class Tier(msgspec.Struct, frozen=True):
    """Rates for all of a request that reads more than so many tokens."""

    above_input_tokens: int
    rates: Rates


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a model costs at an upstream, in a span of time."""

    rates: Rates = FREE_RATES
    tiers: tuple[Tier, ...] = ()
    """Rising."""
    images: Mapping[str, int] = {}
    """By `QUALITY/SIZE`, `SIZE` or `QUALITY`: nano-dollars per million pictures."""
    from_ms: int = 0
    until_ms: int = 2**63 - 1
    """Unix times; the second is excluded."""
    daily_from_s: int = 0
    daily_until_s: int = DAY_S
    """A part of every day in seconds of UTC, through midnight where the second is the smaller one."""

    def active(self, at_ms: int) -> bool:
        """Whether it holds at a time."""
        if not self.from_ms <= at_ms < self.until_ms:
            return False
        second = at_ms // 1000 % DAY_S
        if self.daily_from_s <= self.daily_until_s:
            return self.daily_from_s <= second < self.daily_until_s
        return second >= self.daily_from_s or second < self.daily_until_s

    def rates_for(self, input_tokens: int) -> Rates:
        """The rates of a request that reads so many tokens."""
        rates = self.rates
        for tier in self.tiers:
            if input_tokens <= tier.above_input_tokens:
                break
            rates = tier.rates
        return rates

    def of_picture(self, size: str, quality: str) -> int:
        """The price of a picture: the most exact one that is listed; the dearest where nothing fits."""
        images = self.images
        for name in (f"{quality}/{size}", size, quality):
            if name in images:
                return images[name]
        return max(images.values(), default=self.rates.image)


NO_PRICE = Price()


class Tariff(msgspec.Struct, frozen=True):
    """All prices of a model at an upstream; where several hold, the first one counts."""

    prices: tuple[Price, ...]

    def at(self, at_ms: int) -> Price:
        """The price at a time; nothing where none holds."""
        for price in self.prices:
            if price.active(at_ms):
                return price
        return NO_PRICE


class Counts(Protocol):
    """What was used, as far as it is priced; `core.usage.Usage` is one."""

    @property
    def input_tokens(self) -> int: ...
    @property
    def cached_input_tokens(self) -> int: ...
    @property
    def cache_write_tokens(self) -> int: ...
    @property
    def input_audio_tokens(self) -> int: ...
    @property
    def input_image_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def reasoning_tokens(self) -> int: ...
    @property
    def output_audio_tokens(self) -> int: ...
    @property
    def output_image_tokens(self) -> int: ...
    @property
    def images(self) -> int: ...
    @property
    def seconds(self) -> int: ...
    @property
    def characters(self) -> int: ...


class Demand(msgspec.Struct, kw_only=True, gc=False):
    """The most that a request can use, as far as it can be told from the request."""

    input_tokens: int = 0
    output_tokens: int = 0
    images: int = 0
    seconds: int = 0
    characters: int = 0
    size: str = ""
    quality: str = ""
    media: bool = False
    """Pictures or sounds go in or come out: tokens of any kind."""

    @property
    def tokens(self) -> int:
        """Both ways."""
        return self.input_tokens + self.output_tokens


def most(price: Price, demand: Demand) -> int:
    """The exact sum of a demand at the dearest of what it may turn out to be."""
    rates = price.rates_for(demand.input_tokens)
    into, out = max(rates.input, rates.cached_input, rates.cache_write), max(rates.output, rates.reasoning)
    if demand.media:
        into = max(into, rates.input_audio, rates.input_image)
        out = max(out, rates.output_audio, rates.output_image)
    exact = demand.input_tokens * into + demand.output_tokens * out + rates.request
    if demand.images:
        exact += demand.images * price.of_picture(demand.size, demand.quality)
    return exact + demand.seconds * rates.second + demand.characters * rates.character


def total(price: Price, usage: Counts, size: str = "", quality: str = "") -> int:
    """The exact sum of a usage."""
    rates = price.rates if not price.tiers else price.rates_for(usage.input_tokens)
    read, cached = usage.input_tokens, usage.cached_input_tokens
    wrote, thought = usage.output_tokens, usage.reasoning_tokens
    if cached <= read and thought <= wrote and not _other_kinds(usage):  # nearly always
        exact = read * rates.input + wrote * rates.output + rates.request
        if cached:
            exact += cached * (rates.cached_input - rates.input)
        if thought:
            exact += thought * (rates.reasoning - rates.output)
        return exact
    return _total_of_kinds(price, rates, usage, size, quality)


def _other_kinds(usage: Counts) -> int:
    """Not 0 where anything was used but text."""
    return (
        usage.cache_write_tokens
        | usage.input_audio_tokens
        | usage.input_image_tokens
        | usage.output_audio_tokens
        | usage.output_image_tokens
        | usage.images
        | usage.seconds
        | usage.characters
    )


def _total_of_kinds(price: Price, rates: Rates, usage: Counts, size: str, quality: str) -> int:
    exact = rates.request + _part(
        usage.input_tokens,
        rates.input,
        (usage.cached_input_tokens, rates.cached_input),
        (usage.cache_write_tokens, rates.cache_write),
        (usage.input_audio_tokens, rates.input_audio),
        (usage.input_image_tokens, rates.input_image),
    )
    exact += _part(
        usage.output_tokens,
        rates.output,
        (usage.reasoning_tokens, rates.reasoning),
        (usage.output_audio_tokens, rates.output_audio),
        (usage.output_image_tokens, rates.output_image),
    )
    if usage.images:
        exact += usage.images * price.of_picture(size, quality)
    return exact + usage.seconds * rates.second + usage.characters * rates.character


def _part(count: int, rate: int, *kinds: tuple[int, int]) -> int:
    """A count at its rate, but for those of its kinds that have one of their own.

    Kinds that an upstream says are more than the whole are cut, in their order.
    """
    exact, left = 0, count
    for part, own in kinds:
        if part:
            counted = min(part, left)
            exact += counted * own
            left -= counted
    return exact + left * rate
