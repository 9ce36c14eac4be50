"""Plans from settings: names, wildcards, discovered models; and what a new table keeps of the old one."""

from __future__ import annotations

from typing import Any, cast

import pytest

from headgate.core.errors import ModelNotFound
from headgate.core.ports import Upstream
from headgate.core.settings import Settings
from headgate.core.settings import Upstream as UpstreamSettings
from headgate.core.settings_routing import Health, Model, ModelTarget, NamedModel, Routing
from headgate.gateway.choose import Plan
from headgate.gateway.places import Places
from headgate.gateway.plan import Planner, Source, found_there
from headgate.gateway.route import GUESSED_NAMES, Models, plan_for


class Named:
    def __init__(self, name: str) -> None:
        self.name = name


UPSTREAMS = {name: cast("Upstream", Named(name)) for name in "abc"}


def source(name: str, **more: Any) -> Source:
    return Source(upstream=UPSTREAMS[name], owner=name, created_s=7, **more)


def upstream(name: str, *models: str | Model) -> UpstreamSettings:
    entries = tuple(Model(name=one) if isinstance(one, str) else one for one in models)
    return UpstreamSettings(name=name, base_url="http://h", models=entries)


def drawn(*upstreams: UpstreamSettings, planner: Planner | None = None, **more: Any) -> Models:
    sources = {name: source(name) for name in UPSTREAMS} | more.pop("sources", {})
    return (planner or Planner()).models(Settings(upstreams=upstreams, **more), sources)


def where(plan: Plan) -> list[tuple[str, str]]:
    return [(target.upstream.name, target.upstream_model) for target in plan.targets]


def test_two_upstreams_with_one_model_are_two_targets() -> None:
    models = drawn(
        upstream("a", Model(name="m", upstream_name="m-there", priority=2)),
        upstream("b", Model(name="m", weight=3)),
        upstream("c", "n"),
        aliases={"other": "m"},
    )
    assert list(models.plans) == ["m", "n", "other"]
    assert where(plan_for(models, "m")) == [("b", "m"), ("a", "m-there")]
    assert plan_for(models, "other") is plan_for(models, "m")
    assert plan_for(models, "n").alone is not None
    [first, _] = plan_for(models, "m").targets
    assert (first.model, first.owner, first.created_s, first.traits.weight) == ("m", "b", 7, 3)


def test_a_named_model_has_targets_and_rules_of_its_own() -> None:
    named = (
        NamedModel(name="smart", targets=(ModelTarget(upstream="b", model="x"), ModelTarget(upstream="a"))),
        NamedModel(name="m", attempts=9),
    )
    models = drawn(upstream("a", "m"), upstream("b", "m"), named_models=named, routing=Routing(attempts=2))
    assert where(plan_for(models, "smart")) == [("b", "x"), ("a", "smart")]
    assert plan_for(models, "smart").rules.attempts == 2
    assert plan_for(models, "m").rules.attempts == 9


def test_a_star_stands_for_what_is_not_served_otherwise() -> None:
    models = drawn(
        upstream("a", "exact", "*", Model(name="x/*", upstream_name="*")),
        upstream("b", Model(name="x/y*", upstream_name="z/*"), "*"),
    )
    assert list(models.plans) == ["exact"], "a star is not listed"
    assert where(plan_for(models, "exact")) == [("a", "exact")]
    assert where(plan_for(models, "any/thing")) == [("a", "any/thing"), ("b", "any/thing")]
    assert where(plan_for(models, "x/one")) == [("a", "one")]
    assert where(plan_for(models, "x/yes")) == [("b", "z/es")], "the longest fixed part counts"
    assert plan_for(models, "x/one") is plan_for(models, "x/one"), "its health is remembered"
    assert plan_for(models, "x/one").targets[0].guessed


def test_what_nothing_stands_for_is_not_found() -> None:
    models = drawn(upstream("a", "gpt-*"))
    with pytest.raises(ModelNotFound):
        plan_for(models, "claude")
    assert where(plan_for(models, "gpt-5")) == [("a", "gpt-5")]


def test_clients_cannot_fill_the_memory_with_names() -> None:
    models = drawn(upstream("a", "*"))
    kept = plan_for(models, "last")
    for number in range(GUESSED_NAMES + 5):
        plan_for(models, f"made-up-{number}")
    assert len(models._guessed) == GUESSED_NAMES
    assert plan_for(models, "last") is not kept


def test_an_alias_may_lead_to_what_a_star_stands_for() -> None:
    models = drawn(upstream("a", "gpt-*"), aliases={"fast": "gpt-4o-mini"})
    assert where(plan_for(models, "fast")) == [("a", "gpt-4o-mini")]


def test_models_that_were_found_are_listed_and_no_others_are_guessed() -> None:
    entries = upstream("a", Model(name="far/*", upstream_name="*", priority=2), "gpt-*")
    near = upstream("b", "gpt-5")
    before = drawn(entries, near)
    assert where(plan_for(before, "gpt-6")) == [("a", "gpt-6")], "nothing was heard of yet"
    models = drawn(
        entries, near, sources={"a": source("a", models=("gpt-5", "other"))}, aliases={"o": "gone"}
    )
    assert sorted(models.plans) == ["far/gpt-5", "far/other", "gpt-5"]
    assert sorted(where(plan_for(models, "gpt-5"))) == [("a", "gpt-5"), ("b", "gpt-5")]
    assert where(plan_for(models, "far/other")) == [("a", "other")]
    for name in ("gpt-6", "o"):
        with pytest.raises(ModelNotFound):
            plan_for(models, name)


def test_found_names_are_translated_both_ways() -> None:
    known = ("x/one", "x/two", "y")
    assert list(found_there(known, "far/*", "x/*")) == [("x/one", "far/one"), ("x/two", "far/two")]
    assert list(found_there(known, "x/*", "fixed")) == [("fixed", "x/one"), ("fixed", "x/two")]


def test_health_is_kept_of_what_did_not_change() -> None:
    planner = Planner()
    first = drawn(upstream("a", "m", "n"), planner=planner)
    health = plan_for(first, "m").targets[0].health
    for _ in range(5):
        health.failed(100, False)
    second = drawn(upstream("a", "m"), upstream("b", "m"), planner=planner)
    [a, b] = plan_for(second, "m").targets
    assert a.health is health
    assert not a.health.fit
    assert b.health.fit
    other = cast("Upstream", Named("a"))
    moved = Source(upstream=other, owner="a", created_s=7)
    third = drawn(upstream("a", "m"), planner=planner, sources={"a": moved})
    assert plan_for(third, "m").targets[0].health.fit, "another place, though of the same name"
    fourth = drawn(upstream("a", "m"), planner=planner)
    assert plan_for(fourth, "m").targets[0].health is not health, "forgotten when it was gone"


def test_health_obeys_new_rules() -> None:
    planner = Planner()
    target = plan_for(drawn(upstream("a", "m"), planner=planner), "m").targets[0]
    target.health.failed(100, False)
    drawn(upstream("a", "m"), planner=planner, health=Health(failures=2))
    target.health.failed(100, False)
    assert not target.health.fit


def test_places_are_shared_as_they_were_configured() -> None:
    own, planner = Places(5), Planner()
    sources = {"a": source("a", places=own)}
    entries = upstream("a", Model(name="m", max_in_flight=2, queue=3), "n")
    models = drawn(entries, planner=planner, sources=sources)
    [m], [n] = plan_for(models, "m").targets, plan_for(models, "n").targets
    assert m.places[1] is n.places[0] is own
    assert (m.places[0].limit, m.places[0].queue_limit, m.places[0].queue_timeout_ms) == (2, 3, 5000)
    again = drawn(entries, planner=planner, sources=sources)
    assert plan_for(again, "m").targets[0].places[0] is m.places[0]


@pytest.mark.parametrize(
    ("said", "known", "expected"),
    [
        (None, None, None),
        (None, "partial", "partial"),
        (True, None, "plain"),
        (True, "partial", "partial"),
        (False, "partial", None),
    ],
)
def test_who_goes_on_with_an_answer(said: bool | None, known: str | None, expected: str | None) -> None:
    models = drawn(upstream("a", Model(name="m", prefill=said)), sources={"a": source("a", prefill=known)})
    assert plan_for(models, "m").targets[0].prefill == expected


def test_every_target_has_a_status() -> None:
    models = drawn(
        upstream("a", "m", "*"),
        upstream("b", Model(name="m", max_in_flight=3)),
        aliases={"n": "m"},
    )
    plan_for(models, "guessed")
    statuses = {(one.model, one.upstream, one.places) for one in models.statuses(100)}
    assert statuses == {("m", "a", None), ("m", "b", 3), ("guessed", "a", None)}
    assert all(one.health.breaker == "closed" for one in models.statuses(100))
