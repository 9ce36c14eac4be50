"""Health: a breaker that opens, probes and closes; rests; windows. The clock is a number."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from headgate.core.settings_routing import Health as HealthRules
from headgate.gateway.health import Condition, TargetHealth

RULES = HealthRules(
    failures=3, error_percent=50, error_requests=10, window_ms=60_000, open_ms=1000, open_max_ms=5000
)


def tell(health: TargetHealth, now_s: float, *results: bool) -> None:
    """Requests one after another: well (True) or not."""
    for result in results:
        probe = health.enter()
        if result:
            health.succeeded(now_s, 10, probe)
        else:
            health.failed(now_s, probe)
        health.leave(probe)


def opened(now_s: float = 100.0) -> TargetHealth:
    health = TargetHealth(RULES)
    tell(health, now_s, False, False, False)
    assert health.condition(now_s) is Condition.OPEN
    return health


def test_failures_in_a_row_open_it_and_a_success_between_does_not() -> None:
    health = TargetHealth(RULES)
    tell(health, 100, False, False, True, False, False)
    assert health.condition(100) is Condition.FIT
    tell(health, 100, False)
    assert health.condition(100) is Condition.OPEN
    assert health.snapshot(100).breaker == "open"


def test_a_share_of_failures_opens_it_once_there_are_enough_requests() -> None:
    health = TargetHealth(RULES)
    tell(health, 100, *[True, False] * 4, True)
    assert health.fit, "nine requests are too few"
    tell(health, 100, False)
    assert health.condition(100) is Condition.OPEN


def test_what_is_out_of_the_window_does_not_count() -> None:
    health = TargetHealth(RULES)
    tell(health, 100, *[True, False] * 4, True)
    tell(health, 170, False)
    assert health.fit
    snapshot = health.snapshot(170)
    assert (snapshot.requests, snapshot.failures) == (1, 1)


def test_one_probe_passes_after_the_time_and_closes_it() -> None:
    health = opened(100)
    assert health.condition(100.9) is Condition.OPEN
    assert health.condition(101) is Condition.PROBE
    probe = health.enter()
    assert probe
    assert health.condition(101) is Condition.OPEN, "one probe at a time"
    assert not health.enter()
    health.leave(False)
    health.succeeded(101.5, 10, probe)
    health.leave(probe)
    assert health.condition(101.5) is Condition.FIT
    assert health.fit
    tell(health, 102, False, False)
    assert health.fit, "what opened it is forgotten"


def test_a_failed_probe_doubles_the_time_up_to_a_bound() -> None:
    health, now_s = opened(100), 100.0
    for wait_s in (1, 2, 4, 5, 5):
        assert health.condition(now_s + wait_s - 0.1) is Condition.OPEN
        now_s += wait_s
        assert health.condition(now_s) is Condition.PROBE
        tell(health, now_s, False)
    now_s += 5
    assert health.condition(now_s) is Condition.PROBE
    tell(health, now_s, True)
    assert health.condition(now_s) is Condition.FIT
    tell(health, now_s, False, False, False)
    assert health.condition(now_s + 1) is Condition.PROBE, "it begins anew"


def test_a_probe_that_tells_nothing_makes_room_for_the_next() -> None:
    health = opened(100)
    assert health.condition(101) is Condition.PROBE
    probe = health.enter()
    health.leave(probe)  # its client has hung up
    assert health.condition(101) is Condition.PROBE


def test_before_its_time_it_can_be_probed_when_nobody_else_is_left() -> None:
    health = opened(100)
    health.condition(101)
    tell(health, 101, False)  # now open for two seconds
    assert not health.may_probe(101.9)
    assert health.may_probe(102)
    assert health.condition(102) is Condition.OPEN
    probe = health.enter()
    assert probe
    assert not health.may_probe(102)
    health.succeeded(102, 10, probe)
    health.leave(probe)
    assert health.condition(102) is Condition.FIT


def test_a_request_from_before_says_nothing_to_an_open_breaker() -> None:
    health = TargetHealth(RULES)
    old = health.enter()
    tell(health, 100, False, False, False)
    health.succeeded(100.5, 10, old)
    health.leave(old)
    assert health.condition(100.5) is Condition.OPEN


def test_a_rest_is_kept_and_the_longest_counts() -> None:
    health = TargetHealth(RULES)
    health.rest(100, 5000)
    health.rest(100, 1000)
    assert health.condition(104.9) is Condition.RESTING
    assert 0 < health.waits_ms(104) <= 1001
    assert health.snapshot(104).resting_ms == 1000
    assert health.condition(105) is Condition.FIT
    assert health.fit
    assert health.waits_ms(105) == 0


def test_no_rest_is_longer_than_allowed() -> None:
    health = TargetHealth(HealthRules(rest_max_ms=2000))
    health.rest(100, 86_400_000)
    assert health.condition(102) is Condition.FIT


def test_latency_is_known_within_the_window() -> None:
    health = TargetHealth(RULES)
    for _ in range(96):
        health.succeeded(100, 100, False)
    health.succeeded(100, 3000, False)
    snapshot = health.snapshot(100)
    assert 100 < snapshot.first_byte_ms < 500
    assert snapshot.slow_ms == 128
    for _ in range(40):
        health.succeeded(110, 3000, False)
    assert health.snapshot(110).slow_ms == 4096
    assert health.snapshot(300).first_byte_ms == 0


@given(st.lists(st.tuples(st.sampled_from(["ok", "bad", "gone", "rest", "wait"]), st.integers(0, 4000))))
def test_whatever_happens_it_comes_back(events: list[tuple[str, int]]) -> None:
    health, now_s = TargetHealth(RULES), 100.0
    for what, number in events:
        now_s += number / 1000
        condition = health.condition(now_s)
        assert health.fit == (condition is Condition.FIT)
        if what == "rest":
            health.rest(now_s, number)
        elif what != "wait" and condition in (Condition.FIT, Condition.PROBE):
            probe = health.enter()
            assert probe == (condition is Condition.PROBE)
            if what == "ok":
                health.succeeded(now_s, number, probe)
            elif what == "bad":
                health.failed(now_s, probe)
            health.leave(probe)
    assert health.in_flight == 0
    later_s = now_s + RULES.open_max_ms / 1000
    assert health.condition(later_s) in (Condition.FIT, Condition.PROBE)
    tell(health, later_s, True)
    assert health.condition(later_s) is Condition.FIT
