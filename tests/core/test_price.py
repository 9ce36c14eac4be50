"""Sums against fractions, tiers and dates at their edges; a demand is never below what it becomes."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.money import LARGEST, Ratio, charge
from headgate.core.price import DAY_S, NO_PRICE, Demand, Price, Rates, Tariff, Tier, derive, most, total


class Used(msgspec.Struct, frozen=True):
    """Counts of a usage."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    images: int = 0
    seconds: int = 0
    characters: int = 0


INPUT_KINDS = ("cached_input", "cache_write", "input_audio", "input_image")
OUTPUT_KINDS = ("reasoning", "output_audio", "output_image")
PRICES = st.integers(0, 10**15)
"""Up to a dollar for each."""
COUNTS = st.integers(0, 10**7)
RATES = st.builds(Rates, **dict.fromkeys(Rates.__struct_fields__, PRICES))


@st.composite
def sound_usages(draw: st.DrawFn) -> Used:
    """Usages whose parts are no more than their whole."""
    counts = {name: draw(COUNTS) for name in ("images", "seconds", "characters")}
    for whole, kinds in (("input_tokens", INPUT_KINDS), ("output_tokens", OUTPUT_KINDS)):
        parts = {f"{kind}_tokens": draw(COUNTS) for kind in kinds}
        counts |= parts | {whole: sum(parts.values()) + draw(COUNTS)}
    return Used(**counts)


def dollars(rates: Rates, used: Used) -> Fraction:
    """The sum as an accountant would make it, in nano-dollars."""
    plain_input = used.input_tokens - sum(getattr(used, f"{kind}_tokens") for kind in INPUT_KINDS)
    plain_output = used.output_tokens - sum(getattr(used, f"{kind}_tokens") for kind in OUTPUT_KINDS)
    lines = [(plain_input, rates.input), (plain_output, rates.output), (1, rates.request)]
    lines += [(getattr(used, f"{kind}_tokens"), getattr(rates, kind)) for kind in INPUT_KINDS + OUTPUT_KINDS]
    lines += [(used.images, rates.image), (used.seconds, rates.second), (used.characters, rates.character)]
    return sum((count * Fraction(price, 10**6) for count, price in lines), Fraction(0))


@given(RATES, sound_usages(), st.integers(0, 10**6), st.integers(1, 10**6))
def test_a_charge_is_the_true_sum_rounded_up_once(
    rates: Rates, used: Used, numerator: int, denominator: int
) -> None:
    exact = total(Price(rates=rates), used)
    assert charge(exact) == min(ceil(dollars(rates, used)), LARGEST)
    price = dollars(rates, used) * Fraction(numerator, denominator)
    assert charge(exact, Ratio(numerator, denominator)) == min(ceil(price), LARGEST)


@given(RATES, sound_usages(), st.lists(st.tuples(st.integers(0, 10**7), RATES), max_size=3))
def test_a_demand_is_never_below_what_becomes_of_it(
    rates: Rates, used: Used, tiers: list[tuple[int, Rates]]
) -> None:
    price = Price(rates=rates, tiers=tuple(Tier(*tier) for tier in sorted(tiers, key=lambda tier: tier[0])))
    demand = Demand(
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        images=used.images,
        seconds=used.seconds,
        characters=used.characters,
        media=True,
    )
    assert most(price, demand) >= total(price, used)


@given(RATES, st.tuples(*[COUNTS] * 12))
def test_parts_that_are_more_than_the_whole_are_cut(rates: Rates, counts: tuple[int, ...]) -> None:
    used = Used(*counts)
    exact = total(Price(rates=rates), used)
    dearest_input = max(rates.input, *(getattr(rates, kind) for kind in INPUT_KINDS))
    dearest_output = max(rates.output, *(getattr(rates, kind) for kind in OUTPUT_KINDS))
    plain = Used(images=used.images, seconds=used.seconds, characters=used.characters)
    bound = used.input_tokens * dearest_input + used.output_tokens * dearest_output
    assert 0 <= exact <= total(Price(rates=rates), plain) + bound


def test_a_unit_without_a_price_costs_what_the_wider_one_does() -> None:
    rates = derive(input=10, output=20, cached_input=1, second=None)
    assert rates.cache_write == rates.input_audio == rates.input_image == 10
    assert rates.reasoning == rates.output_audio == rates.output_image == 20
    assert (rates.cached_input, rates.second) == (1, 0)
    assert derive(output_image=40).output == 0


def test_a_tier_counts_for_the_whole_request_once_it_is_passed() -> None:
    price = Price(rates=derive(input=1, output=2), tiers=(Tier(200, derive(input=10, output=20)),))
    assert total(price, Used(input_tokens=200, output_tokens=1)) == 202
    assert total(price, Used(input_tokens=201, output_tokens=1)) == 2030
    assert most(price, Demand(input_tokens=201, output_tokens=1)) == 2030


def test_pictures_by_quality_and_size() -> None:
    price = Price(rates=Rates(image=7), images={"hd/1024x1024": 80, "1024x1024": 40, "hd": 120})
    assert price.of_picture("1024x1024", "hd") == 80
    assert price.of_picture("1024x1024", "standard") == 40
    assert price.of_picture("512x512", "hd") == 120
    assert price.of_picture("9x9", "") == 120, "nothing fits: the dearest"
    assert Price(rates=Rates(image=7)).of_picture("9x9", "") == 7
    assert total(price, Used(images=3), "1024x1024", "hd") == 240


def test_a_price_holds_from_its_first_millisecond_to_its_last() -> None:
    price = Price(from_ms=1000, until_ms=2000)
    assert [price.active(at_ms) for at_ms in (999, 1000, 1999, 2000)] == [False, True, True, False]


def test_a_part_of_the_day_may_go_through_midnight() -> None:
    night = Price(daily_from_s=16 * 3600, daily_until_s=1800)
    hours = [hour for hour in range(24) if night.active((5 * DAY_S + hour * 3600) * 1000)]
    assert hours == [0, *range(16, 24)]
    noon = Price(daily_from_s=12 * 3600, daily_until_s=13 * 3600)
    assert [hour for hour in range(24) if noon.active(hour * 3_600_000)] == [12]


def test_of_several_prices_the_first_that_holds_counts() -> None:
    old, new = Price(rates=Rates(input=1)), Price(rates=Rates(input=2), from_ms=1000)
    tariff = Tariff((new, old))
    assert tariff.at(999) is old
    assert tariff.at(1000) is new
    assert Tariff(()).at(0) is NO_PRICE
