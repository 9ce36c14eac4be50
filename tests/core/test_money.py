"""Money: what is read is what was written, and a charge is the exact sum rounded up once."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.money import LARGEST, ONE, Ratio, charge, format_dollars, parse_dollars, parse_ratio

AMOUNTS = st.integers(-LARGEST, LARGEST)


@given(AMOUNTS)
def test_what_is_shown_is_read_again(amount: int) -> None:
    assert parse_dollars(format_dollars(amount)) == amount


@given(AMOUNTS)
def test_what_is_shown_is_the_amount(amount: int) -> None:
    assert Decimal(format_dollars(amount)).scaleb(9) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [("0", 0), ("1", 10**9), ("0.01", 10**7), ("2.50", 25 * 10**8), ("-3.000000001", -3 * 10**9 - 1)],
)
def test_dollars(text: str, amount: int) -> None:
    assert parse_dollars(text) == amount


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "1.", ".5", "1,5", "1e3", "0x10", " 1", "1\n", "+1", "--1", "١", "1_000", "nan"),
        *("1.0000000001", "9223372036.854775808", "9" * 20, "1." + "0" * 20),
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"amount|decimals"):
        parse_dollars(text)


@given(st.integers(0, 10**30), st.integers(0, 10**12), st.integers(1, 10**9))
def test_a_charge_is_the_exact_sum_rounded_up_once(exact: int, numerator: int, denominator: int) -> None:
    expected = ceil(Fraction(exact, 10**6) * Fraction(numerator, denominator))
    assert charge(exact, Ratio(numerator, denominator)) == min(expected, LARGEST)


@given(st.integers(0, 10**30))
def test_a_charge_without_a_factor_is_the_same_as_with_one(exact: int) -> None:
    assert charge(exact) == charge(exact, ONE) == charge(exact, Ratio(7, 7))


@given(st.decimals(0, 10**9, places=9))
def test_a_ratio_is_exactly_what_was_written(value: Decimal) -> None:
    ratio = parse_ratio(format(value, "f"))
    assert Fraction(ratio.numerator, ratio.denominator) == Fraction(value)


@pytest.mark.parametrize("text", ["-1", "1/2", "", "1.0000000001", "9" * 19 + ".1"])
def test_what_is_no_ratio_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"amount|factor|decimals"):
        parse_ratio(text)
