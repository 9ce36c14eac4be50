"""Prices as an operator writes them, and which of several counts."""

from __future__ import annotations

import msgspec
import pytest

from headgate.core.price import Price, Rates, Tier
from headgate.core.price_book import Listed, PriceBook
from headgate.core.settings_prices import PriceSettings, PriceTerms, moment_ms


def read(text: str) -> PriceSettings:
    return msgspec.toml.decode(text, type=PriceSettings)


def test_dollars_become_whole_numbers() -> None:
    price = read("""
        model = "m"
        input = "2.50"
        cached_input = "0.000000001"
        output = "10"
        character = "15"
        second = "0.0001"
        request = "0.01"
        image = "0.02"
        images = [{ size = "1024x1024", quality = "hd", price = "0.08" }, { quality = "low", price = "0.01" }]
        valid_from = "2026-07-01"
        valid_until = "2026-07-01T02:00:00+02:00"
    """).of_time()
    assert price.rates == Rates(
        input=2_500_000_000,
        cached_input=1,
        cache_write=2_500_000_000,
        input_audio=2_500_000_000,
        input_image=2_500_000_000,
        output=10_000_000_000,
        reasoning=10_000_000_000,
        output_audio=10_000_000_000,
        output_image=10_000_000_000,
        character=15_000_000_000,
        second=100_000_000_000,
        request=10_000_000_000_000,
        image=20_000_000_000_000,
    )
    assert price.images == {"hd/1024x1024": 80_000_000_000_000, "low": 10_000_000_000_000}
    assert price.from_ms == price.until_ms == 1_782_864_000_000


def test_tiers_rise_and_take_what_they_do_not_say_from_below() -> None:
    price = read("""
        model = "m"
        input = "1"
        output = "2"
        tiers = [{ above_input_tokens = 200, input = "3" }, { above_input_tokens = 100, output = "4" }]
    """).of_time()
    assert [(tier.above_input_tokens, tier.rates.input, tier.rates.output) for tier in price.tiers] == [
        (100, 10**9, 4 * 10**9),
        (200, 3 * 10**9, 2 * 10**9),
    ]
    assert isinstance(price.tiers[0], Tier)


@pytest.mark.parametrize("line", ["input = 2.5", 'input = "-1"', 'input = "1e3"', 'input = "12345678"'])
def test_a_price_is_text_without_sign_or_exponent(line: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(f'model = "m"\n{line}')


@pytest.mark.parametrize("text", ["2026-02-30", "2026-07-01T25:00"])
def test_a_moment_has_to_exist(text: str) -> None:
    with pytest.raises(ValueError, match=r"day|hour"):
        moment_ms(text)


def test_the_database_keeps_the_same_words() -> None:
    assert msgspec.convert({"input": "1"}, PriceTerms).priced(5).rates.output_audio == 0


def listed(model: str, rate: int, upstream: str = "", until_ms: int = 2**62) -> Listed:
    return Listed(model, upstream, Price(rates=Rates(input=rate), until_ms=until_ms))


def test_the_operators_own_price_counts_before_the_configured_one_and_the_most_exact_first() -> None:
    book = PriceBook(
        [listed("gpt-*", 1), listed("gpt-*", 2), listed("x", 3)],
        [listed("gpt-4o", 4), listed("gpt-4o", 5, "far"), listed("*", 6)],
        lambda upstream, model: (Price(rates=Rates(input=7)),) if upstream == "far" else (),
    )

    def rates(*place: str) -> list[int]:
        return [price.rates.input for price in book.tariff(*place).prices]

    assert rates("gpt-4o", "far", "gpt-4o") == [2, 1, 5, 4, 6, 7]
    assert rates("gpt-4o", "near", "gpt-4o") == [2, 1, 4, 6]
    assert rates("other", "near", "other") == [6]
    assert book.tariff("x", "far", "x") is book.tariff("x", "far", "x")


def test_a_price_whose_time_is_over_gives_way_to_the_next() -> None:
    book = PriceBook([listed("m", 1, until_ms=1000)], [listed("m", 2)], lambda *_: ())
    assert [book.tariff("m", "u", "m").at(at_ms).rates.input for at_ms in (999, 1000)] == [1, 2]


def test_brackets_in_a_models_name_are_letters() -> None:
    book = PriceBook([], [listed("a[bc]*", 1)], lambda *_: ())
    assert book.tariff("a[bc]d", "u", "m").prices
    assert not book.tariff("abd", "u", "m").prices
