"""Counters: bounds are inclusive, tokens add up, and no flood of names makes more series than the cap."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from headgate.telemetry.counters import DURATION_BOUNDS_S, OTHER, Counters, Histogram


@given(st.lists(st.floats(0, 200)))
def test_a_histogram_counts_each_value_once_below_its_bound(values: list[float]) -> None:
    histogram = Histogram(DURATION_BOUNDS_S)
    for value in values:
        histogram.add(value)
    assert sum(histogram.counts) == len(values)
    assert histogram.total == sum(values)
    for number, bound in enumerate(DURATION_BOUNDS_S):
        assert sum(histogram.counts[: number + 1]) == sum(value <= bound for value in values)


def test_a_value_on_a_bound_belongs_to_it() -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.add(1.0)
    histogram.add(2.0)
    histogram.add(2.1)
    assert histogram.counts == [1, 1, 1]
    assert bisect_left((1.0, 2.0), 1.0) == 0


def test_over_the_cap_everything_new_is_counted_together() -> None:
    counters = Counters(most_series=3)
    kept = [counters.series("chat", f"m{number}", "up") for number in range(3)]
    assert counters.series("chat", "m0", "up") is kept[0]
    others = {id(counters.series("chat", f"x{number}", f"t{number}")) for number in range(1000)}
    assert len(others) == 1
    assert counters.series("chat", "m1", "up") is kept[1]
    # Another endpoint's others are its own: endpoints come from a table of ours.
    assert id(counters.series("embeddings", "x", "up")) not in others
    assert [key for key, _ in counters.all()][3:] == [("chat", OTHER, OTHER), ("embeddings", OTHER, OTHER)]
