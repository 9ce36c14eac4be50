"""What known services ask: the package genai-prices, turned into our own whole numbers. No network is asked.

Its data are Python objects that take a fifth of a second to load: `load` is for the start, or for a thread.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING, Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from headgate.core.money import DOLLAR, LARGEST, UNITS_PER_PRICE
from headgate.core.price import DAY_S, Price, Rates, Tier, derive

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

_NO_SERVICE = re.compile(r"unix:|https?://(?:localhost|[0-9.]+|\[)", re.IGNORECASE)
"""Sockets and bare addresses: no service is there, and the package need not be loaded to know it."""
_ANY_DAY = date(2000, 1, 1)
_HOUR_S = 3600
_THOUSAND = 1000

_UNITS: dict[str, tuple[tuple[str, ...], int]] = {
    "input": (("input_mtok", "input_text_mtok"), UNITS_PER_PRICE),
    "cached_input": (("cache_read_mtok", "cache_text_read_mtok"), UNITS_PER_PRICE),
    "cache_write": (("cache_write_mtok", "cache_write_5m_mtok"), UNITS_PER_PRICE),
    "input_audio": (("input_audio_mtok",), UNITS_PER_PRICE),
    "input_image": (("input_image_mtok",), UNITS_PER_PRICE),
    "output": (("output_mtok", "output_text_mtok"), UNITS_PER_PRICE),
    "reasoning": (("output_reasoning_mtok",), UNITS_PER_PRICE),
    "output_audio": (("output_audio_mtok",), UNITS_PER_PRICE),
    "output_image": (("output_image_mtok",), UNITS_PER_PRICE),
    "second": (("input_audio_hours", "audio_hours", "output_audio_hours"), _HOUR_S),
    "character": (("input_mchars",), UNITS_PER_PRICE),
    "request": (("requests_kcount",), _THOUSAND),
}
"""Our units, the package's names for them in order of preference, and how many units those prices are for."""


def load() -> None:
    """Reads the package's data, so that the first question does not wait for it."""
    _providers()


def default_prices(base_url: str, model: str) -> tuple[Price, ...]:
    """What a service asks, by its address and the model's name there; empty where nobody knows."""
    if _NO_SERVICE.match(base_url):
        return ()
    for provider in _providers():
        if re.search(provider.api_pattern, base_url):
            found = provider.find_model(model, all_providers=list(_providers()))
            if found is not None:
                return _prices(found)
    return ()


@cache
def _providers() -> tuple[Provider, ...]:
    from genai_prices.data import providers  # noqa: PLC0415 - see above

    return tuple(providers)


def _prices(model: ModelInfo) -> tuple[Price, ...]:
    """In the package's own order of precedence: the last one whose condition holds, else the first."""
    if not isinstance(model.prices, list):
        return (_price(model.prices, None),)
    prices = [_price(one.prices, one.constraint) for one in reversed(model.prices)]
    return (*prices, _price(model.prices[0].prices, None))


def _price(listed: Any, constraint: Any) -> Price:
    starts = sorted({tier.start for value in vars(listed).values() for tier in getattr(value, "tiers", ())})
    start_date = getattr(constraint, "start_date", None)
    from_ms = 0
    if start_date is not None:
        from_ms = int(datetime.combine(start_date, time(0), UTC).timestamp()) * 1000
    start, end = getattr(constraint, "start_time", None), getattr(constraint, "end_time", None)
    return Price(
        rates=_rates(listed, 0),
        tiers=tuple(Tier(start, _rates(listed, start + 1)) for start in starts),
        from_ms=from_ms,
        daily_from_s=_second(start) if start is not None else 0,
        daily_until_s=_second(end) if end is not None else DAY_S,
    )


def _rates(listed: Any, input_tokens: int) -> Rates:
    """The rates of a request that reads so many tokens."""
    known: dict[str, int | None] = {}
    for unit, (names, per) in _UNITS.items():
        value = next((found for name in names if (found := vars(listed).get(name)) is not None), None)
        if value is not None:
            known[unit] = _whole(_tier(value, input_tokens), per)
    for wide, kinds in (
        ("input", ("input_image", "input_audio")),
        ("output", ("output_image", "output_audio")),
    ):
        if wide not in known:
            # A model that makes only pictures, or only sounds, has no other price for what it makes.
            known[wide] = next((known[kind] for kind in kinds if kind in known), None)
    return derive(**known)


def _tier(value: Any, input_tokens: int) -> Decimal:
    price: Decimal = getattr(value, "base", value)
    for tier in getattr(value, "tiers", ()):
        if input_tokens > tier.start:
            price = tier.price
    return price


def _whole(price: Decimal, per: int) -> int:
    """Dollars per so many units as nano-dollars per million, rounded up where that does not come out even."""
    exact = price * DOLLAR * UNITS_PER_PRICE / per
    return min(int(exact.to_integral_value(ROUND_CEILING)), LARGEST)


def _second(moment: time) -> int:
    zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    utc = datetime.combine(_ANY_DAY, zoned).astimezone(UTC)
    return utc.hour * _HOUR_S + utc.minute * 60 + utc.second
