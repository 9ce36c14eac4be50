"""What is tried next: the rules of docs/routing.md, step by step, with chance and time as numbers."""

from __future__ import annotations

from typing import Any, cast

import hypothesis.strategies as st
from hypothesis import given

from headgate.core.errors import ApiError, InvalidField, RateLimited, UpstreamFailed, UpstreamRefused
from headgate.core.ports import Upstream
from headgate.core.settings_routing import Routing, Traits
from headgate.gateway.choose import NO_FACTS, Plan, Target
from headgate.gateway.judge import BROKEN, CLIENTS, FULL, SLOW, Blame, Verdict
from headgate.gateway.retry import Step, Tries

LIMITED = Verdict(Blame.LIMIT, elsewhere=True, again=True, kind="limited")
TOO_LONG = Verdict(Blame.NOBODY, elsewhere=True, longer=True)


class Named:
    def __init__(self, name: str) -> None:
        self.name = name


def target(name: str, model: str = "m", **traits: Any) -> Target:
    return Target("m", cast("Upstream", Named(name)), model, 0, name, traits=Traits(**traits))


def tiers(*names: str) -> list[Target]:
    """Targets in a certain order."""
    return [target(name, priority=place + 1) for place, name in enumerate(names)]


class Course:
    """One request's way, told as it goes."""

    def __init__(self, targets: list[Target], **rules: Any) -> None:
        self.plan = Plan(targets, Routing(**rules))
        self.tries = Tries(self.plan, NO_FACTS, 100)
        self.now_s = 100.0
        self.at = self.plan.targets[0]

    def fails(self, verdict: Verdict = BROKEN, error: ApiError | None = None) -> Step | None:
        self.tries.failed(self.at, verdict, error or UpstreamFailed("broken"))
        step = self.tries.next(self.now_s, lambda: 0.5)
        if step is not None:
            self.at = step.target
            self.now_s += step.wait_ms / 1000
        return step


def named(step: Step | None) -> tuple[str, int] | None:
    return (step.target.upstream.name, step.wait_ms) if step is not None else None


def test_the_next_target_at_once_and_a_round_again_after_a_back_off() -> None:
    course = Course(tiers("a", "b"), attempts=6, backoff_ms=100)
    steps = [named(course.fails()) for _ in range(6)]
    # With 0.5 for chance a wait is three quarters of the back-off. Breakers are not told: tier 1 leads.
    assert steps == [("b", 0), ("a", 75), ("a", 150), ("a", 300), ("a", 600), None]


def test_the_back_off_has_a_bound() -> None:
    course = Course(tiers("a"), attempts=5, backoff_ms=100, backoff_max_ms=200)
    assert [named(course.fails()) for _ in range(4)] == [("a", 75), ("a", 150), ("a", 150), ("a", 150)]


def test_the_clients_own_mistake_is_told_at_once() -> None:
    course = Course(tiers("a", "b"))
    error = InvalidField("wrong", param="x")
    assert course.fails(CLIENTS, error) is None
    assert course.tries.error(100) is error


def test_who_was_slow_is_not_asked_again() -> None:
    course = Course(tiers("a", "b"), attempts=5)
    assert named(course.fails(SLOW)) == ("b", 0)
    assert course.fails(SLOW) is None
    other = Course(tiers("a", "b"), attempts=5)
    assert named(other.fails(SLOW)) == ("b", 0)
    step = other.fails(BROKEN)
    assert step is not None
    assert step.target.upstream.name == "b", "the one that may be asked again"


def test_too_long_goes_to_a_longer_context_only() -> None:
    targets = [
        target("a", context_tokens=1000),
        target("b", context_tokens=1000, priority=2),
        target("c", priority=3),
        target("d", "big", priority=4),
        target("e", context_tokens=5000, priority=5),
    ]
    course = Course(targets)
    assert named(course.fails(TOO_LONG)) == ("d", 0), "not the same model under another roof"
    assert named(course.fails(TOO_LONG)) == ("e", 0)
    assert course.fails(TOO_LONG) is None


def test_time_is_up() -> None:
    course = Course(tiers("a", "b", "c"), retry_within_ms=1000)
    assert course.fails() is not None
    course.now_s = 101.0
    assert course.fails() is None


def test_no_wait_goes_past_the_time() -> None:
    course = Course(tiers("a"), retry_within_ms=500, backoff_ms=1000)
    assert course.fails() is None


def test_the_budget_bounds_rounds_and_not_next_targets() -> None:
    course = Course(tiers("a", "b", "c"), retry_burst=0, attempts=9)
    assert named(course.fails()) == ("b", 0)
    assert named(course.fails()) == ("c", 0)
    assert course.fails() is None


def test_a_short_rest_is_waited_for_and_a_long_one_told() -> None:
    course = Course(tiers("a"), backoff_ms=100, backoff_max_ms=5000)
    course.at.health.rest(100, 2000)
    step = course.fails(LIMITED)
    assert step is not None
    assert step.wait_ms >= 2000
    course.at.health.rest(course.now_s, 30_000)
    error = UpstreamRefused("slow down", status=429, error_type="requests")
    assert course.fails(LIMITED, error) is None
    told = course.tries.error(course.now_s)
    assert told is error
    assert told.retry_after_ms is not None
    assert 30_000 <= told.retry_after_ms <= 30_001


def test_when_all_rest_the_first_to_come_back_is_told() -> None:
    course = Course(tiers("a", "b"))
    course.at.health.rest(100, 20_000)
    course.fails(LIMITED, UpstreamRefused("x", status=429, error_type="requests", retry_after_ms=20_000))
    course.at.health.rest(100, 60_000)
    assert course.fails(LIMITED, UpstreamFailed("y")) is None
    told = course.tries.error(100)
    assert isinstance(told, RateLimited)
    assert told.retry_after_ms is not None
    assert 20_000 <= told.retry_after_ms <= 20_001


def test_a_target_without_room_costs_no_attempt() -> None:
    course = Course(tiers("a", "b"), attempts=1)
    course.tries.failed(course.at, FULL, UpstreamFailed("full"), sent=False)
    assert course.tries.count == 0
    assert named(course.tries.next(100, lambda: 0.5)) == ("b", 0)


@given(st.data())
def test_it_always_comes_to_an_end(data: st.DataObject) -> None:
    course = Course(
        tiers(*data.draw(st.sampled_from(["a", "ab", "abc"]))),
        attempts=data.draw(st.integers(1, 8)),
        retry_burst=data.draw(st.integers(0, 5)),
        retry_within_ms=data.draw(st.integers(1, 100_000)),
    )
    rules, asked = course.plan.rules, [course.at]
    for _ in range(20):
        verdict = data.draw(st.sampled_from([BROKEN, SLOW, LIMITED, CLIENTS, TOO_LONG]))
        if verdict is LIMITED:
            course.at.health.rest(course.now_s, data.draw(st.integers(0, 20_000)))
        step = course.fails(verdict)
        if step is None:
            break
        assert verdict is not CLIENTS
        assert step.wait_ms >= 0
        if step.target in asked:
            assert step.wait_ms > 0, "no target is asked twice without a wait"
        asked.append(step.target)
    assert len(asked) <= rules.attempts
    assert len(asked) - len(set(asked)) <= rules.retry_burst
    assert course.now_s <= 100 + rules.retry_within_ms / 1000
    assert isinstance(course.tries.error(course.now_s), ApiError)
