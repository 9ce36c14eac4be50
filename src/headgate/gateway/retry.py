"""Whether and where a request is tried again: the next target at once, a round again only after a back-off.

Pure: chance and time come in as numbers. docs/routing.md shows the rules as a table.
"""

from __future__ import annotations

import msgspec

from headgate.core.errors import ApiError
from headgate.gateway.choose import Draw, Facts, Plan, Target, can, choose, conditions, limited, order
from headgate.gateway.judge import Blame, Verdict


class Step(msgspec.Struct, frozen=True):
    """What to do next."""

    target: Target
    wait_ms: int = 0
    """How long to wait before."""


class Tries:
    """What was tried for one request, and what may still be."""

    __slots__ = ("_at", "_errors", "_facts", "_last", "_plan", "_rounds", "_started_s", "_verdicts", "count")

    def __init__(self, plan: Plan, facts: Facts, started_s: float) -> None:
        self._plan = plan
        self._facts = facts
        self._started_s = started_s
        self._verdicts: dict[Target, Verdict] = {}
        """The last one for each target that was tried."""
        self._last: Verdict | None = None
        self._at: Target | None = None
        self._errors: list[ApiError] = []
        self._rounds = 0
        self.count = 0
        """Tries so far."""

    def go_on(self, now_s: float, *, in_text: bool) -> None:
        """An answer was begun: time begins anew, and from here only those count that can go on with text."""
        self._facts = msgspec.structs.replace(self._facts, prefill=in_text)
        self._started_s = now_s

    def failed(self, target: Target, verdict: Verdict, error: ApiError, *, sent: bool = True) -> None:
        """A try has ended so. One that was not `sent`, for want of words or room, counts for none."""
        self.count += sent
        self._verdicts[target] = self._last = verdict
        self._at = target
        self._errors.append(error)

    def next(self, now_s: float, draw: Draw) -> Step | None:
        """What to try next; None when it is enough."""
        rules = self._plan.rules
        last = self._last
        if (
            last is None
            or not (last.elsewhere or last.again or last.other_key)
            or self.count >= rules.attempts
            or now_s >= self._started_s + rules.retry_within_ms / 1000
        ):
            return None
        if last.other_key and self._at is not None:
            return Step(self._at)
        return self._elsewhere(last, now_s, draw) or self._again(now_s, draw)

    def error(self, now_s: float) -> ApiError:
        """What the client is told when it was enough."""
        error = self._errors[-1]
        found = list(self._verdicts.values())
        if all(verdict.blame is Blame.LIMIT for verdict in found):
            # All of them rest, and the first to come back counts.
            wait_ms = min(target.health.waits_ms(now_s) for target in self._verdicts) or None
            if len(found) > 1:
                return limited(wait_ms)
            if error.retry_after_ms is None:
                error.retry_after_ms = wait_ms
        return error

    def _elsewhere(self, last: Verdict, now_s: float, draw: Draw) -> Step | None:
        """A target that was not asked yet: costs nothing of the budget, for none gets the request twice."""
        passed = set(self._verdicts)
        while True:
            found = choose(self._plan, self._facts, now_s, draw, passed)
            if isinstance(found, ApiError):
                return None
            if not last.longer or self._is_longer(found):
                return Step(found)
            passed.add(found)

    def _again(self, now_s: float, draw: Draw) -> Step | None:
        """A target that was asked before, after a wait."""
        rules = self._plan.rules
        left = [
            target for target, verdict in self._verdicts.items() if verdict.again and can(target, self._facts)
        ]
        if not left:
            return None
        backoff_ms = min(rules.backoff_ms * 2**self._rounds, rules.backoff_max_ms)
        wait_ms = int(backoff_ms * (1 + draw()) / 2)
        ordered = order(left, conditions(left, now_s), self._facts, rules, draw)
        if ordered:
            target = ordered[0]
        else:
            target = min(left, key=lambda one: one.health.waits_ms(now_s))
            rest_ms = target.health.waits_ms(now_s)
            if rest_ms > rules.backoff_max_ms:
                return None
            # Whoever waits for the same moment must not come in the same moment.
            wait_ms = max(wait_ms, int(rest_ms * (1 + draw() / 4)))
        if now_s + wait_ms / 1000 >= self._started_s + rules.retry_within_ms / 1000:
            return None
        if not self._plan.budget.spend():
            return None
        self._rounds += 1
        return Step(target, wait_ms)

    def _is_longer(self, target: Target) -> bool:
        """Whether its context is longer than that of all that were too short; unknown ones may be."""
        longest = max(
            (one.traits.context_tokens or 0 for one, verdict in self._verdicts.items() if verdict.longer),
            default=0,
        )
        context = target.traits.context_tokens
        if context is None:
            return target.upstream_model not in {one.upstream_model for one in self._verdicts}
        return context > longest
