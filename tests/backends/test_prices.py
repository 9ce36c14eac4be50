"""Prices that come along, against the package's own arithmetic, for every model that it knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import ceil

import genai_prices.types
import pytest
from genai_prices.data import providers

from headgate.backends.prices import _prices, default_prices, load
from headgate.core.money import charge
from headgate.core.price import Price, Tariff, total
from tests.core.test_price import Used

MOMENTS = [
    datetime(2024, 3, 1, 12, tzinfo=UTC),
    datetime(2026, 6, 1, 17, tzinfo=UTC),
    datetime(2026, 11, 1, 0, 45, tzinfo=UTC),
]
USAGES = [(1000, 0, 1000), (150_000, 20_000, 7), (250_001, 250_001, 30_000), (1_000_001, 3, 0)]
TEXT = {"input_mtok", "cache_read_mtok", "output_mtok"}
"""What the package prices with nothing but counts of tokens; with other kinds it wants those counts too."""


def theirs(model: genai_prices.types.ModelInfo, moment: datetime, usage: tuple[int, int, int]) -> int | None:
    """Nano-dollars, rounded up; None where the package wants to know more."""
    prices = model.get_prices(moment)
    if not {"input_mtok", "output_mtok"} <= prices.__dict__.keys():
        return None
    read, cached, wrote = usage
    used = genai_prices.types.Usage(input_tokens=read, cache_read_tokens=cached, output_tokens=wrote)
    kept = {name: price for name, price in prices.__dict__.items() if name in TEXT}
    result = genai_prices.types.ModelPrice(**kept).calc_price(used)
    return ceil(result["total_price"] * 10**9)


def whole(prices: genai_prices.types.ModelPrice) -> bool:
    """Whether its prices are whole nano-dollars per million."""
    values = [value for name, value in vars(prices).items() if name in TEXT]
    plain = [getattr(value, "base", value) for value in values]
    plain += [tier.price for value in values for tier in getattr(value, "tiers", ())]
    return all(value * 10**9 % 1 == 0 for value in plain)


@pytest.mark.parametrize("provider", providers, ids=lambda provider: provider.id)
def test_every_model_costs_what_the_package_says(provider: genai_prices.types.Provider) -> None:
    for model in provider.models:
        tariff = Tariff(_prices(model))
        for moment in MOMENTS:
            price = tariff.at(int(moment.timestamp()) * 1000)
            for usage in USAGES:
                expected = theirs(model, moment, usage)
                if expected is not None and not price.rates.request:
                    read, cached, wrote = usage
                    used = Used(input_tokens=read, cached_input_tokens=cached, output_tokens=wrote)
                    # Some prices are finer than a nano-dollar per million: rounded up, they cost a bit more.
                    slack = 0 if whole(model.get_prices(moment)) else sum(usage) // 10**6 + 1
                    assert 0 <= charge(total(price, used)) - expected <= slack, (model.id, moment, usage)


def find(url: str, model: str, at: datetime = MOMENTS[2]) -> Price:
    return Tariff(default_prices(url, model)).at(int(at.timestamp()) * 1000)


def test_a_service_is_known_by_its_address_and_a_model_by_its_names() -> None:
    load()
    price = find("https://api.openai.com/v1", "gpt-4o-2024-08-06")
    assert price.rates.input == 2_500_000_000
    assert price.rates.cached_input == 1_250_000_000
    assert price.rates.output == price.rates.reasoning == 10_000_000_000
    assert find("https://api.openai.com/v1", "gpt-4o") == price
    assert find("https://api.deepseek.com", "deepseek-chat").rates.input > 0


def test_what_nobody_knows_has_no_price() -> None:
    assert default_prices("http://10.0.0.7:8000/v1", "gpt-4o") == ()
    assert default_prices("https://api.openai.com/v1", "no-such-model") == ()


def test_sound_by_the_hour_is_priced_by_the_second() -> None:
    found = [
        (vars(model.prices), Tariff(_prices(model)).at(0).rates.second)
        for provider in providers
        for model in provider.models
        if not isinstance(model.prices, list) and "input_audio_hours" in vars(model.prices)
    ]
    assert found
    for prices, second in found:
        assert 0 <= second - prices["input_audio_hours"] * 10**15 / 3600 < 1


def test_prices_change_with_their_dates() -> None:
    dated = [
        (model, one.constraint.start_date)
        for provider in providers
        for model in provider.models
        if isinstance(model.prices, list)
        for one in model.prices
        if isinstance(one.constraint, genai_prices.types.StartDateConstraint)
    ]
    assert dated
    for model, start in dated:
        tariff = Tariff(_prices(model))
        midnight = datetime(start.year, start.month, start.day, tzinfo=UTC)
        for moment in (midnight, midnight - timedelta(milliseconds=1)):
            expected = theirs(model, moment, USAGES[0])
            if expected is not None:
                price = tariff.at(ceil(moment.timestamp() * 1000))
                if not price.rates.request:
                    assert charge(total(price, Used(input_tokens=1000, output_tokens=1000))) == expected
