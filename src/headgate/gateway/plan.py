"""Plans from settings: which targets each name has. Health and places of what did not change are kept.

Must not know how upstreams are made: it is handed them by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from headgate.core.ports import Keyring, Upstream
from headgate.core.settings import Settings
from headgate.core.settings_models import WILDCARD, filled_in, fits
from headgate.core.settings_routing import ModelTarget, Routing
from headgate.gateway.choose import Plan, Target
from headgate.gateway.health import TargetHealth
from headgate.gateway.places import Places
from headgate.gateway.route import Guess, Models


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream, as far as plans are made of it."""

    upstream: Upstream
    owner: str
    """Shown as the owner of its models."""
    created_s: int
    """Unix time since which it is known."""
    places: Places | None = None
    """Its own, shared by all of its models."""
    queue_timeout_ms: int = 5_000
    """How long a request may wait for a place."""
    keyring: Keyring | None = None
    """Where it has several keys."""
    prefill: str | None = None
    """How it is asked to go on with an answer that was begun; None when it is not known to."""
    models: tuple[str, ...] | None = None
    """What it says it has; None when it was not asked, or has not said yet."""


class Planner:
    """Makes tables of models; remembers the health of targets from one to the next."""

    def __init__(self) -> None:
        self._health: dict[tuple[Upstream, str], TargetHealth] = {}
        self._places: dict[tuple[Upstream, str, int, int], Places] = {}

    def models(self, settings: Settings, sources: Mapping[str, Source]) -> Models:
        """The table for these settings; `sources` are upstreams and engines by name."""
        draft = _Draft(self, settings, sources)
        models = draft.models()
        kept = {source.upstream for source in sources.values()}
        # Of targets that are gone, and of names that were only guessed, nothing is kept.
        live = {(target.upstream, target.upstream_model) for target in draft.made}
        self._health = {key: health for key, health in self._health.items() if key in live}
        self._places = {key: places for key, places in self._places.items() if key[0] in kept}
        return models

    def health(self, source: Source, upstream_model: str, settings: Settings) -> TargetHealth:
        """The health of a target: the one it has, or a new one."""
        key = (source.upstream, upstream_model)
        health = self._health.setdefault(key, TargetHealth(settings.health))
        health.obey(settings.health)
        return health

    def places(self, source: Source, upstream_model: str, limit: int, queue: int) -> Places:
        """The places of a target that has a bound of its own."""
        key = (source.upstream, upstream_model, limit, queue)
        return self._places.setdefault(key, Places(limit, queue, source.queue_timeout_ms))


class _Draft:
    """One table in the making."""

    def __init__(self, planner: Planner, settings: Settings, sources: Mapping[str, Source]) -> None:
        self._planner = planner
        self._settings = settings
        self._sources = sources
        self._rules = {named.name: named.rules(settings.routing) for named in settings.named_models}
        self.made: list[Target] = []

    def models(self) -> Models:
        """All of it."""
        listed: dict[str, list[Target]] = {}
        patterns: dict[str, list[ModelTarget]] = {}
        for name, entries in self._settings.models().items():
            for entry in entries:
                known = self._sources[entry.upstream].models
                if WILDCARD not in name:
                    listed.setdefault(name, []).append(self._target(name, entry, entry.model or name))
                elif known is None:
                    patterns.setdefault(name, []).append(entry)
                else:
                    for there, here in found_there(known, name, entry.model or name):
                        listed.setdefault(here, []).append(self._target(here, entry, there))
        plans = {name: Plan(targets, self._rules_of(name)) for name, targets in listed.items()}
        models = Models(plans, _guesser(self, patterns))
        for alias, name in self._settings.aliases.items():
            plan = plans.get(name) or models.guess(name)
            if plan is not None:  # what an upstream no longer has is not found under another name either
                models.plans.setdefault(alias, plan)
        return models

    def guessed(self, pattern: str, name: str, entries: Iterable[ModelTarget]) -> Plan:
        """The plan for a name that a pattern stands for."""
        targets = [
            self._target(name, entry, filled_in(pattern, name, entry.model or pattern), guessed=True)
            for entry in entries
        ]
        return Plan(targets, self._rules_of(name, pattern))

    def _rules_of(self, *names: str) -> Routing:
        return next((self._rules[name] for name in names if name in self._rules), self._settings.routing)

    def _target(self, name: str, entry: ModelTarget, there: str, *, guessed: bool = False) -> Target:
        source = self._sources[entry.upstream]
        places = [source.places] if source.places is not None else []
        if guessed:
            # Remembered with the plan alone: there is no end of such names.
            health = TargetHealth(self._settings.health)
        else:
            health = self._planner.health(source, there, self._settings)
        if entry.max_in_flight is not None:
            named = "" if guessed else there
            places.insert(0, self._planner.places(source, named, entry.max_in_flight, entry.queue))
        prefill = source.prefill
        if entry.prefill is not None:
            prefill = (prefill or "plain") if entry.prefill else None
        target = Target(
            name,
            source.upstream,
            there,
            source.created_s,
            source.owner,
            traits=entry,
            health=health,
            places=tuple(places),
            prefill=prefill,
            keyring=source.keyring,
            guessed=guessed,
        )
        if not guessed:
            self.made.append(target)
        return target


def _guesser(draft: _Draft, patterns: Mapping[str, list[ModelTarget]]) -> Guess | None:
    # The longest fixed part says most about what is meant.
    ordered = sorted(patterns.items(), key=lambda entry: len(entry[0]), reverse=True)

    def guess(name: str) -> Plan | None:
        for pattern, entries in ordered:
            if fits(pattern, name):
                return draft.guessed(pattern, name, entries)
        return None

    return guess if ordered else None


def found_there(known: Iterable[str], pattern: str, pattern_there: str) -> Iterable[tuple[str, str]]:
    """Of the models that an upstream says it has, those that a name with a `*` takes: its name and ours."""
    for model in known:
        if WILDCARD in pattern_there:
            if fits(pattern_there, model):
                yield model, filled_in(pattern_there, model, pattern)
        elif fits(pattern, model):
            yield pattern_there, model
