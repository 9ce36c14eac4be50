"""Paired statistics: values of one round are compared with each other and with no others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ratios import Spread, differences, ratios, spread


def test_ratios_pair_rounds_before_taking_the_median() -> None:
    # The machine was half as fast in the second round: the ratio of the medians would be 1.0.
    assert ratios([100, 30, 200], [50, 60, 100]) == Spread(2.0, 0.5, 2.0)


def test_a_slow_contestant_is_compared_with_the_rounds_it_took_part_in() -> None:
    assert ratios([1, 3], [10, 10, 1]) == Spread(0.2, 0.1, 0.3)
    assert differences([3], [1, 100]) == Spread(2, 2, 2)


def test_more_rounds_than_the_other_side_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1, 2, 3], [1, 2])


@given(st.lists(st.floats(min_value=1e-6, max_value=1e9), min_size=1))
def test_the_median_lies_within_the_range(values: list[float]) -> None:
    result = spread(values)
    assert min(values) == result.low <= result.median <= result.high == max(values)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (Spread(0.654, 0.6, 0.7), 2, "0.65 (0.60-0.70)"),
        (Spread(0.00071, 0.0006, 0.0008), 2, "0.0007 (0.0006-0.0008)"),
        (Spread(0, 0, 12.34), 1, "0.0 (0.0-12.3)"),
        (Spread(73.4, 73, 74), 0, "73 (73-74)"),
    ],
)
def test_numbers_keep_what_matters(value: Spread, digits: int, text: str) -> None:
    assert value.shown(digits) == text
