"""`[[price]]`: what models cost, in dollars as text; the database keeps an operator's own prices so too.

Records, and their change into `core.price`'s whole numbers; nothing is looked up here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from headgate.core.money import UNITS_PER_PRICE, parse_dollars
from headgate.core.price import Price, Rates, Tier, derive
from headgate.core.settings_kinds import ModelName, Name

Dollars = Annotated[
    str,
    Meta(pattern=r"^[0-9]{1,7}(\.[0-9]{1,9})?\Z", description='an amount in dollars, such as "2.50"'),
]
"""Text, for a number with a point in it would be a float. Seven digits: a price of millions is a slip."""

Moment = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]+(Z|[+-][0-9:]+)?)?\Z",
        description='a date or a time such as "2026-07-01" or "2026-07-01T12:00:00Z"',
    ),
]

_PER_MILLION = (
    *("input", "cached_input", "cache_write", "input_audio", "input_image"),
    *("output", "reasoning", "output_audio", "output_image", "character"),
)
_EACH = ("image", "second", "request")


class TokenPrices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Dollars per million tokens; what is not said is like the wider kind: cached input like input."""

    input: Dollars | None = None
    cached_input: Dollars | None = None
    """Read from the upstream's prompt cache."""
    cache_write: Dollars | None = None
    """Written to it."""
    input_audio: Dollars | None = None
    input_image: Dollars | None = None
    output: Dollars | None = None
    reasoning: Dollars | None = None
    output_audio: Dollars | None = None
    output_image: Dollars | None = None


class TierPrices(TokenPrices, frozen=True, kw_only=True):
    """Prices of a whole request that reads more than so many tokens."""

    above_input_tokens: Annotated[int, Meta(ge=1, le=1_000_000_000)]


class PicturePrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The price of one picture of a size, of a quality, or of both."""

    size: Annotated[str, Meta(max_length=32)] = ""
    """As requests have it, such as `1024x1024`."""
    quality: Annotated[str, Meta(max_length=32)] = ""
    price: Dollars


class PriceTerms(TokenPrices, frozen=True, kw_only=True):
    """Everything that a model can be paid for."""

    image: Dollars | None = None
    """Dollars for each picture, where `images` has no better price."""
    second: Dollars | None = None
    """Dollars for each second of sound."""
    character: Dollars | None = None
    """Dollars per million characters."""
    request: Dollars | None = None
    """Dollars for each request."""
    images: tuple[PicturePrice, ...] = ()
    tiers: tuple[TierPrices, ...] = ()

    def priced(self, from_ms: int = 0, until_ms: int | None = None) -> Price:
        """As whole numbers, valid in a span of Unix time."""
        tiers = sorted(self.tiers, key=lambda tier: tier.above_input_tokens)
        return Price(
            rates=_rates(self),
            tiers=tuple(Tier(tier.above_input_tokens, _rates(self, tier)) for tier in tiers),
            images={
                "/".join(part for part in (one.quality, one.size) if part): _each(one.price)
                for one in self.images
            },
            from_ms=from_ms,
            until_ms=2**63 - 1 if until_ms is None else until_ms,
        )


class PriceSettings(PriceTerms, frozen=True, kw_only=True):
    """`[[price]]`: of a model, at one upstream or wherever it is to be had."""

    model: ModelName
    """What clients write under `model`, or a pattern with `*`."""
    upstream: Name | None = None
    """Only when this upstream answers."""
    valid_from: Moment | None = None
    """From this moment on, in UTC where no zone is said; since ever without it."""
    valid_until: Moment | None = None
    """Up to this moment."""

    def of_time(self) -> Price:
        """As whole numbers, in its span; raises ValueError for a moment that does not exist."""
        until_ms = moment_ms(self.valid_until) if self.valid_until is not None else None
        return self.priced(moment_ms(self.valid_from) if self.valid_from is not None else 0, until_ms)


def moment_ms(text: str) -> int:
    """Unix milliseconds of a date or a time; raises ValueError."""
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()) * 1000


def _rates(terms: PriceTerms, tier: TierPrices | None = None) -> Rates:
    """The rates; a tier's own prices in place of those below it."""
    prices: dict[str, int | None] = {}
    for name in _PER_MILLION:
        text = getattr(tier, name, None) if tier is not None else None
        if text is None:
            text = getattr(terms, name)
        prices[name] = parse_dollars(text) if text is not None else None
    for name in _EACH:
        text = getattr(terms, name)
        prices[name] = _each(text) if text is not None else None
    return derive(**prices)


def _each(text: str) -> int:
    return parse_dollars(text) * UNITS_PER_PRICE
