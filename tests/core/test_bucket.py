"""The bucket against fractions: what it lets through, how long it says to wait, what it says is left."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from headgate.core.bucket import Bucket

DAY_MS = 86_400_000
BUCKETS = st.builds(
    Bucket,
    st.one_of(st.integers(1, 100), st.integers(1, 10**12)),
    st.sampled_from([7, 60_000, DAY_MS]),
)
STEPS = st.lists(
    st.tuples(st.integers(0, 2 * DAY_MS), st.integers(0, 10**6), st.integers(-(10**6), 10**6)), max_size=30
)


class Reference:
    """A bucket as one would explain it."""

    def __init__(self, limit: int, period_ms: int) -> None:
        self.limit = Fraction(limit)
        self.rate = Fraction(limit, period_ms)
        self.level = Fraction(limit)
        self.at_ms = 0

    def fill(self, now_ms: int) -> None:
        self.level = min(self.limit, self.level + (now_ms - self.at_ms) * self.rate)
        self.at_ms = now_ms

    def take(self, count: int) -> None:
        self.level = min(self.limit, self.level - count)


@given(BUCKETS, STEPS)
def test_it_lets_through_what_the_reference_does(bucket: Bucket, steps: list[tuple[int, int, int]]) -> None:
    reference = Reference(bucket.limit, bucket.period_ms)
    now_ms = 0
    for passed_ms, count, correction in steps:
        now_ms += passed_ms
        reference.fill(now_ms)
        bucket.pay(now_ms)
        fits = bucket.wait_ms(count, now_ms) == 0
        assert fits == (reference.level >= count)
        if fits:
            bucket.take(count)
            reference.take(count)
            bucket.take(correction)
            reference.take(correction)
        assert Fraction(bucket.debt, bucket.period_ms) == reference.limit - reference.level
        assert bucket.remaining == max(Fraction(0), reference.level) // 1


@given(BUCKETS, STEPS, st.integers(1, 10**6))
def test_waiting_exactly_so_long_is_enough_and_a_millisecond_less_is_not(
    bucket: Bucket, steps: list[tuple[int, int, int]], count: int
) -> None:
    now_ms = 0
    for passed_ms, taken, correction in steps:
        now_ms += passed_ms
        bucket.pay(now_ms)
        bucket.take(taken)
        bucket.take(correction)
    wait_ms = bucket.wait_ms(count, now_ms)
    if count > bucket.limit:
        assert wait_ms == -1
        return
    if wait_ms:
        assert bucket.wait_ms(count, now_ms + wait_ms - 1) == 1
    assert bucket.wait_ms(count, now_ms + wait_ms) == 0


@given(BUCKETS, st.integers(1, 10**6))
def test_after_reset_it_is_full_and_a_millisecond_before_it_is_not(bucket: Bucket, count: int) -> None:
    bucket.pay(5)
    bucket.take(count)
    reset_ms = bucket.reset_ms
    assert reset_ms > 0
    assert bucket.pay(5 + reset_ms - 1) > 0
    assert bucket.pay(5 + reset_ms) == 0


def test_a_clock_that_goes_back_fills_nothing() -> None:
    bucket = Bucket(10, 1000)
    bucket.pay(5000)
    bucket.take(10)
    assert bucket.wait_ms(1, 4000) == 100
    assert bucket.wait_ms(1, 5100) == 0


def test_a_new_limit_keeps_what_was_taken() -> None:
    bucket = Bucket(10, 1000)
    bucket.take(10)
    bucket.limit = 20
    assert bucket.remaining == 10


def test_a_limit_of_nothing_lets_nothing_through() -> None:
    bucket = Bucket(0, 1000)
    assert bucket.wait_ms(1, 10**9) == -1
    assert bucket.reset_ms == 0
