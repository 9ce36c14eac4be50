"""Which of a model's targets gets a request: capabilities, health, tier, weight, stickiness.

Pure but for the health that it reads: chance comes in as numbers, and time as a number.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from itertools import accumulate

import msgspec

from headgate.core.errors import ApiError, BadRequest, Overloaded, RateLimited, UpstreamFailed
from headgate.core.ports import Keyring, Upstream
from headgate.core.settings_routing import Routing, Traits
from headgate.gateway.health import Condition, TargetHealth
from headgate.gateway.places import Places, queue_full

Draw = Callable[[], float]
"""A number from 0 to 1, by chance."""


class Target(msgspec.Struct, frozen=True, eq=False):
    """A model at an upstream."""

    model: str
    """The model's own name, aliases resolved."""
    upstream: Upstream
    upstream_model: str
    """The name it has there."""
    created_s: int
    """Unix time since which it is known, for the list of models."""
    owner: str
    """Shown as `owned_by`."""
    traits: Traits = Traits()
    health: TargetHealth = msgspec.field(default_factory=TargetHealth)
    places: tuple[Places, ...] = ()
    """Where it takes a place: the target's own, the upstream's."""
    prefill: str | None = None
    """How it is asked to go on with an answer that another one began (`core.quirks`); None if it does not."""
    keyring: Keyring | None = None
    """Where its upstream has several keys."""
    guessed: bool = False
    """Its name came out of a `*`: the upstream may not know it."""

    @property
    def identity(self) -> str:
        """What tells it from others, in this process and the next."""
        return f"{self.upstream.name}/{self.upstream_model}"


class Facts(msgspec.Struct, frozen=True):
    """What is known of a request where it is sent: what it needs, and where it belongs."""

    vision: bool = False
    tools: bool = False
    json_schema: bool = False
    draws: bool = False
    tokens: int = 0
    """Certainly no fewer than these, question and answer."""
    prefill: bool = False
    """An answer was begun, and has to be gone on with."""
    conversation: bytes = b""
    """The same for every request of one conversation; empty where that does not count."""


NO_FACTS = Facts()

NEEDS = {
    "vision": "take pictures",
    "tools": "call functions",
    "json_schema": "answer to a JSON Schema",
    "draws": "answer with pictures",
}
"""Capabilities, and how an error says that one is missing."""


class Budget:
    """How many second tries a model may have: a share of its requests, saved up to a bound."""

    __slots__ = ("_left", "_most", "_share")

    def __init__(self, rules: Routing) -> None:
        self._share = rules.retry_budget_percent / 100
        self._most = float(rules.retry_burst)
        self._left = self._most

    def earn(self) -> None:
        """A request came."""
        if self._left < self._most:
            self._left = min(self._most, self._left + self._share)

    def spend(self) -> bool:
        """Takes one second try; False when there is none left."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Plan:
    """A model: its targets, and the rules for them."""

    __slots__ = (
        "_shares", "alone", "budget", "by_chance", "hedged", "needs_facts", "plain", "retries", "rules",
        "targets",
    )  # fmt: skip

    def __init__(self, targets: Sequence[Target], rules: Routing | None = None) -> None:
        self.rules = rules = rules or Routing()
        self.targets = tuple(sorted(targets, key=lambda target: target.traits.priority))
        self.budget = Budget(rules)
        traits = [target.traits for target in self.targets]
        self.needs_facts = (
            rules.sticky != "off"
            or any(one.context_tokens is not None for one in traits)
            or any(getattr(one, need) is not None for one in traits for need in NEEDS)
        )
        """Whether a choice depends on the request."""
        self.by_chance = rules.strategy == "weighted" and not self.needs_facts
        """While all are well, chance decides within the first tier."""
        first = [one.weight for one in traits if one.priority == traits[0].priority]
        self._shares = list(accumulate(first))
        only = self.targets[0]
        self.hedged = rules.hedge_after_ms is not None and len(traits) > 1
        """A second target is asked when the first one is late."""
        self.plain = (
            rules.total_timeout_ms is None
            and not self.hedged
            and not (rules.tell_upstream or rules.tell_attempts)
        )
        """Nothing has to be done around an attempt."""
        self.retries = rules.attempts > 1
        self.alone = only if len(traits) == 1 and not self.needs_facts and not only.places else None
        """The only target, when nothing but its health can speak against it."""

    @property
    def model(self) -> str:
        """The model's own name."""
        return self.targets[0].model

    def drawn(self, draw: Draw) -> Target | None:
        """One of the first tier by chance alone, if it is well and has room."""
        target = self.targets[bisect(self._shares, draw() * self._shares[-1], 0, len(self._shares) - 1)]
        if target.health.fit and not (target.places and has_no_room(target)):
            return target
        return None


def choose(
    plan: Plan, facts: Facts, now_s: float, draw: Draw, tried: Collection[Target] = ()
) -> Target | ApiError:
    """The best target that was not tried, or the error that says why there is none."""
    if plan.by_chance and not tried:
        target = plan.drawn(draw)
        if target is not None:
            return target
    able = [target for target in plan.targets if can(target, facts)]
    if not able:
        return unable(plan, facts)
    left = [target for target in able if target not in tried]
    ordered = order(left, conditions(left, now_s), facts, plan.rules, draw)
    if ordered:
        return ordered[0]
    for target in left:
        if target.health.may_probe(now_s) and not is_closed(target):
            return target  # nobody else is left
    return none_left(able, now_s)


def order(
    targets: Sequence[Target], found: Sequence[Condition], facts: Facts, rules: Routing, draw: Draw
) -> list[Target]:
    """The targets that may be asked now, the best one first. `found` are their conditions."""
    ranked: list[tuple[bool, bool, int, float, int]] = []
    for index, target in enumerate(targets):
        if found[index] in (Condition.FIT, Condition.PROBE) and not is_closed(target):
            traits = target.traits
            too_short = traits.context_tokens is not None and facts.tokens > traits.context_tokens
            # Of those that are too short the longest is the least wrong.
            rank = -(traits.context_tokens or 0) if too_short else traits.priority
            score = _score(target, facts, rules, draw)
            ranked.append((too_short, has_no_room(target), rank, score, index))
    return [targets[entry[-1]] for entry in sorted(ranked)]


def conditions(targets: Sequence[Target], now_s: float) -> list[Condition]:
    """How the targets are now."""
    return [target.health.condition(now_s) for target in targets]


def can(target: Target, facts: Facts) -> bool:
    """Whether nobody has said that the target lacks something that the request needs."""
    traits = target.traits
    return not (
        (facts.vision and traits.vision is False)
        or (facts.tools and traits.tools is False)
        or (facts.json_schema and traits.json_schema is False)
        or (facts.draws and traits.draws is False)
        or (facts.prefill and target.prefill is None)
    )


def has_no_room(target: Target) -> bool:
    """Whether a request would have to wait for a place."""
    return any(places.full for places in target.places)


def is_closed(target: Target) -> bool:
    """Whether a request could not even wait for a place."""
    return any(places.closed for places in target.places)


def _score(target: Target, facts: Facts, rules: Routing, draw: Draw) -> float:
    """The lower the better. Chance is an exponential race: weights are kept exactly, whoever is left out."""
    weight = target.traits.weight
    if facts.conversation:
        return -math.log(_belongs(facts.conversation, target)) / weight
    chance = -math.log(1 - draw()) / weight
    if rules.strategy == "least_busy":
        # Ties are common while little is going on: chance, below one request, decides them.
        return (target.health.in_flight + 1) / weight + chance / (1 + chance) / 1e6
    if rules.strategy == "fastest":
        # Who is not known yet has 0, and is tried.
        return target.health.first_byte_ms / weight + chance / (1 + chance) / 1e6
    return chance


def _belongs(conversation: bytes, target: Target) -> float:
    """How much a conversation belongs to a target, above 0 and below 1 (rendezvous hashing)."""
    digest = blake2b(target.identity.encode(), key=conversation, digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 1) / (2**64 + 1)


# --- why nobody -----------------------------------------------------------------------------------------


def unable(plan: Plan, facts: Facts) -> ApiError:
    """No target has what the request needs."""
    lacking = [
        words
        for need, words in NEEDS.items()
        if getattr(facts, need) and all(getattr(target.traits, need) is False for target in plan.targets)
    ]
    if facts.prefill:
        return UpstreamFailed("The upstream's stream broke off.")
    what = " and ".join(lacking or [words for need, words in NEEDS.items() if getattr(facts, need)])
    return BadRequest(f"The model '{plan.model}' cannot {what}.", code="unsupported_parameter")


def none_left(targets: Sequence[Target], now_s: float) -> ApiError:
    """No target may be asked now: the shortest time to come back."""
    found = conditions(targets, now_s)
    wait_ms = min((target.health.waits_ms(now_s) for target in targets), default=0) or None
    if Condition.RESTING in found:
        return limited(wait_ms)
    if any(one is not Condition.OPEN for one in found):
        return queue_full()
    # Nothing was tried: to come back in time is no repetition.
    return Overloaded(
        "The upstream is not available now.", code="upstream_unavailable", retry_after_ms=wait_ms
    )


def limited(wait_ms: int | None) -> RateLimited:
    """Every target has asked for a rest."""
    return RateLimited("The upstream's rate limit is reached. Try again later.", retry_after_ms=wait_ms)
