"""Model name to plan: a table that is replaced whole when settings change, or an upstream's models do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from headgate.core.errors import ModelNotFound
from headgate.gateway.choose import Plan, Target
from headgate.gateway.health import HealthSnapshot

GUESSED_NAMES = 1000
"""Names that only a `*` stands for, remembered with their health: clients can make up any number of them."""

Guess = Callable[[str], Plan | None]
"""The plan for a name that is not in the table, where a `*` stands for it."""


class TargetStatus(msgspec.Struct, frozen=True):
    """One target as it is now, for whoever watches."""

    model: str
    upstream: str
    upstream_model: str
    places: int | None
    """How many requests it takes at once; None without a bound."""
    waiting: int
    """Requests in its queue."""
    keys: int
    """Keys of its upstream that are not resting; 0 where it has fewer than two."""
    health: HealthSnapshot


class Models:
    """The table of models."""

    __slots__ = ("_guess", "_guessed", "plans")

    def __init__(self, plans: Mapping[str, Plan | Target], guess: Guess | None = None) -> None:
        self.plans = {
            name: Plan([plan]) if isinstance(plan, Target) else plan for name, plan in plans.items()
        }
        """By every name that is listed; an alias has the plan of its model."""
        self._guess = guess
        self._guessed: dict[str, Plan] = {}

    @property
    def targets(self) -> Mapping[str, Target]:
        """The first target of each name."""
        return {name: plan.targets[0] for name, plan in self.plans.items()}

    def guess(self, name: str) -> Plan | None:
        """The plan for a name that is not listed."""
        plan = self._guessed.get(name)
        if plan is None and self._guess is not None:
            plan = self._guess(name)
            if plan is not None:
                if len(self._guessed) >= GUESSED_NAMES:
                    del self._guessed[next(iter(self._guessed))]
                self._guessed[name] = plan
        return plan

    def statuses(self, now_s: float) -> Iterator[TargetStatus]:
        """Every target once, under its model's own name; `now_s` is the loop's time."""
        plans = {id(plan): plan for plan in (*self.plans.values(), *self._guessed.values())}
        for plan in plans.values():
            for target in plan.targets:
                yield TargetStatus(
                    target.model,
                    target.upstream.name,
                    target.upstream_model,
                    min((places.limit for places in target.places), default=None),
                    sum(places.waiting for places in target.places),
                    target.keyring.at_hand(now_s) if target.keyring is not None else 0,
                    target.health.snapshot(now_s),
                )


def plan_for(models: Models, name: str) -> Plan:
    """The plan for a model name; raises ModelNotFound."""
    plan = models.plans.get(name) or models.guess(name)
    if plan is None:
        shown = name if len(name) <= 100 else name[:100] + "…"
        raise ModelNotFound(f"The model '{shown}' does not exist or you do not have access to it.")
    return plan
