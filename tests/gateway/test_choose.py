"""Which target gets a request: pure, with chance given as numbers."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, cast

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from headgate.core.errors import ApiError, BadRequest, Overloaded, QueueFull, RateLimited
from headgate.core.ports import Upstream
from headgate.core.settings_routing import Routing, Traits
from headgate.gateway.choose import NO_FACTS, Budget, Facts, Plan, Target, choose, conditions, order
from headgate.gateway.health import Condition
from headgate.gateway.places import Places


class Named:
    """All that choosing knows of an upstream."""

    def __init__(self, name: str) -> None:
        self.name = name


def target(name: str, *places: Places, **traits: Any) -> Target:
    return Target("m", cast("Upstream", Named(name)), "m", 0, name, traits=Traits(**traits), places=places)


def chosen(plan: Plan, facts: Facts = NO_FACTS, *tried: Target, seed: int = 1, now_s: float = 100) -> Target:
    found = choose(plan, facts, now_s, random.Random(seed).random, tried)
    assert isinstance(found, Target)
    return found


def refused(plan: Plan, facts: Facts = NO_FACTS, *tried: Target, now_s: float = 100) -> ApiError:
    found = choose(plan, facts, now_s, lambda: 0.5, tried)
    assert isinstance(found, ApiError)
    return found


def shares(plan: Plan, facts: Facts = NO_FACTS, count: int = 4000) -> dict[str, float]:
    draw = random.Random(7).random
    found = Counter(cast("Target", choose(plan, facts, 100, draw)).upstream.name for _ in range(count))
    return {name: number / count for name, number in found.items()}


def needing(name: str) -> Facts:
    return msgspec.structs.replace(NO_FACTS, **{name: True})


def break_down(one: Target, now_s: float = 100) -> None:
    for _ in range(5):
        one.health.failed(now_s, False)


# --- one target -------------------------------------------------------------------------------------


def test_who_is_alone_needs_no_choice() -> None:
    one = target("a")
    assert Plan([one]).alone is one
    assert Plan([one, target("b")]).alone is None
    assert Plan([target("a", vision=False)]).alone is None
    assert Plan([target("a", context_tokens=9)]).alone is None
    assert Plan([target("a", Places(1))]).alone is None
    assert Plan([one], Routing(sticky="conversation")).alone is None


# --- tiers and weights ------------------------------------------------------------------------------


def test_weights_are_kept() -> None:
    found = shares(Plan([target("a", weight=3), target("b")]))
    assert found["a"] == pytest.approx(0.75, abs=0.03)


def test_weights_are_kept_among_those_that_are_left() -> None:
    plan = Plan([target("a", weight=3), target("b", weight=5), target("c")])
    break_down(plan.targets[1])
    found = shares(plan)
    assert found.keys() == {"a", "c"}
    assert found["a"] == pytest.approx(0.75, abs=0.03)


def test_the_next_tier_waits() -> None:
    plan = Plan([target("c", priority=2), target("a"), target("b")])
    assert shares(plan).keys() == {"a", "b"}
    first, second, third = plan.targets
    assert third.upstream.name == "c"
    assert chosen(plan, NO_FACTS, first, second) is third
    break_down(first)
    assert shares(plan).keys() == {"b"}
    break_down(second)
    assert shares(plan).keys() == {"c"}


def test_the_least_busy_is_asked() -> None:
    plan = Plan([target("a"), target("b"), target("c", weight=4)], Routing(strategy="least_busy"))
    seen: list[str] = []
    for _ in range(12):
        one = chosen(plan, seed=len(seen))
        one.health.enter()
        seen.append(one.upstream.name)
    assert Counter(seen) == {"a": 2, "b": 2, "c": 8}


def test_the_fastest_is_asked_and_unknown_ones_are_tried() -> None:
    plan = Plan([target("a"), target("b"), target("c")], Routing(strategy="fastest"))
    a, b, c = plan.targets
    a.health.succeeded(100, 50, False)
    b.health.succeeded(100, 20, False)
    assert chosen(plan) is c
    c.health.succeeded(100, 90, False)
    assert [chosen(plan, seed=seed) for seed in range(9)] == [b] * 9


# --- what a request needs -----------------------------------------------------------------------------


@pytest.mark.parametrize("need", ["vision", "tools", "json_schema", "draws"])
def test_who_lacks_what_is_needed_is_passed_over(need: str) -> None:
    plan = Plan(
        [target("a", **{need: False}), target("b", priority=2), target("c", priority=3, **{need: True})]
    )
    assert chosen(plan).upstream.name == "a"
    assert chosen(plan, needing(need)).upstream.name == "b", "unknown is allowed"
    alone = Plan([target("a", **{need: False})])
    error = refused(alone, needing(need))
    assert isinstance(error, BadRequest)
    assert "The model 'm' cannot" in error.message


def test_too_long_requests_go_where_they_fit() -> None:
    plan = Plan([target("a", context_tokens=1000), target("b", context_tokens=9000, priority=2)])
    assert chosen(plan, Facts(tokens=1000)).upstream.name == "a"
    assert chosen(plan, Facts(tokens=1001)).upstream.name == "b"
    assert chosen(plan, Facts(tokens=10_000)).upstream.name == "b", "it will say itself that it is too long"


# --- conversations ---------------------------------------------------------------------------------------


def test_a_conversation_stays_and_only_the_share_of_who_left_moves() -> None:
    plan = Plan([target(name) for name in "abcd"], Routing(sticky="conversation"))
    before = {
        number: chosen(plan, Facts(conversation=b"%d" % number), seed=number).upstream.name
        for number in range(400)
    }
    assert set(before.values()) == set("abcd")
    assert min(Counter(before.values()).values()) > 60
    break_down(plan.targets[2])
    for number, name in before.items():
        after = chosen(plan, Facts(conversation=b"%d" % number), seed=number + 1).upstream.name
        assert after == name if name != "c" else after != "c"


def test_weights_are_kept_among_conversations() -> None:
    plan = Plan([target("a", weight=3), target("b")], Routing(sticky="conversation"))
    names = Counter(chosen(plan, Facts(conversation=b"%d" % one)).upstream.name for one in range(2000))
    assert names["a"] / 2000 == pytest.approx(0.75, abs=0.04)


# --- health ---------------------------------------------------------------------------------------------


def test_a_probe_takes_its_usual_place() -> None:
    plan = Plan([target("a"), target("b", priority=2)])
    a, b = plan.targets
    break_down(a)
    assert chosen(plan) is b
    assert chosen(plan, now_s=101.5) is a
    assert a.health.enter()
    assert chosen(plan, now_s=101.5) is b, "one probe is enough"


def test_when_nobody_is_left_the_last_one_is_probed_but_not_hammered() -> None:
    plan = Plan([target("a")])
    [a] = plan.targets
    break_down(a)
    error = refused(plan)
    assert (error.status, error.code) == (503, "upstream_unavailable")
    assert error.should_retry is None, "nothing was tried: to come back is no repetition"
    assert error.retry_after_ms is not None
    for second in (101, 102, 103, 104):
        assert chosen(plan, now_s=second + 0.5) is a
        probe = a.health.enter()
        assert isinstance(refused(plan, now_s=second + 0.5), Overloaded)
        a.health.failed(second + 0.5, probe)
        a.health.leave(probe)


def test_when_all_rest_the_shortest_wait_is_told() -> None:
    plan = Plan([target("a"), target("b")])
    a, b = plan.targets
    a.health.rest(100, 30_000)
    b.health.rest(100, 4_000)
    error = refused(plan)
    assert isinstance(error, RateLimited)
    assert error.retry_after_ms is not None
    assert 4000 <= error.retry_after_ms <= 4001
    assert chosen(plan, now_s=104) is b


def test_full_ones_wait_until_the_others_are_full_too() -> None:
    small, large = Places(1, queue_limit=1), Places(2)
    plan = Plan([target("a", small), target("b", large, priority=2)])
    a, b = plan.targets
    assert chosen(plan) is a
    small.taken = 1
    assert chosen(plan) is b
    large.taken = 2
    assert chosen(plan) is a, "it has a queue"
    small.queue_limit = 0
    assert isinstance(refused(plan), QueueFull)


# --- in general --------------------------------------------------------------------------------------------


@given(st.data())
def test_an_order_is_made_of_those_that_may_be_asked(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1))
    optional = st.none() | st.booleans()
    targets = [
        target(
            name,
            priority=data.draw(st.integers(1, 3)),
            weight=data.draw(st.integers(1, 5)),
            vision=data.draw(optional),
            context_tokens=data.draw(st.none() | st.integers(1, 100)),
        )
        for name in names
    ]
    found = [data.draw(st.sampled_from(list(Condition))) for _ in targets]
    facts = Facts(tokens=data.draw(st.integers(0, 120)), conversation=data.draw(st.sampled_from([b"", b"x"])))
    rules = Routing(strategy=data.draw(st.sampled_from(["weighted", "least_busy", "fastest"])))
    draw = random.Random(data.draw(st.integers())).random
    ordered = order(targets, found, facts, rules, draw)
    fit = [one for one, condition in zip(targets, found, strict=True) if condition.value in ("fit", "probe")]
    assert set(ordered) == set(fit)
    assert len(ordered) == len(fit)
    short = [(one.traits.context_tokens or 200) < facts.tokens for one in ordered]
    assert short == sorted(short), "who fits goes first"
    tiers = [one.traits.priority for one, is_short in zip(ordered, short, strict=True) if not is_short]
    assert tiers == sorted(tiers)
    if facts.conversation:
        assert order(targets, found, facts, rules, random.Random(0).random) == ordered


def test_a_choice_is_what_is_fit() -> None:
    plan = Plan([target("a"), target("b")])
    assert conditions(plan.targets, 100) == [Condition.FIT] * 2
    assert chosen(plan, NO_FACTS, plan.targets[0]) is plan.targets[1]
    assert isinstance(refused(plan, NO_FACTS, *plan.targets), ApiError)


def test_a_budget_is_a_share_saved_up_to_a_bound() -> None:
    budget = Budget(Routing(retry_budget_percent=50, retry_burst=2))
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(3):
        budget.earn()
    assert [budget.spend() for _ in range(2)] == [True, False]
    for _ in range(100):
        budget.earn()
    assert [budget.spend() for _ in range(3)] == [True, True, False]
