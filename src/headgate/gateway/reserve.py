"""Admission to what is limited: everything that a request can use is reserved, or the request is refused.

Owns which counters a caller's request passes, found once and kept while the caller's record stays the same.
Must not know where they count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from headgate.core.accounting import Bound, Counters
from headgate.core.demand import demand
from headgate.core.limit import NO_LIMITS, Limits, Meter, fits, meters
from headgate.core.ports import Call, Principal
from headgate.core.price_book import PriceBook
from headgate.gateway.choose import Target
from headgate.gateway.settle import Bill

PLANS = 10_000
"""Kept at most: callers times models, end users among them; a few megabytes."""


class Rules(msgspec.Struct, frozen=True, eq=False):
    """What the configuration says; replaced whole."""

    prices: PriceBook
    models: Mapping[str, Limits] = {}
    """What all callers together may use, by model name or pattern."""
    answer_tokens: int = 16_384
    answers: Mapping[str, int] = {}
    """The longest answer, by model name or pattern, of a request that does not say."""

    def longest_answer(self, model: str) -> int:
        """Tokens of an answer to a request that does not say."""
        for pattern, tokens in self.answers.items():
            if fits(pattern, model):
                return tokens
        return self.answer_tokens


NO_RULES = Rules(PriceBook((), (), lambda upstream, model: ()))


class Reserve:
    """The gate's accounting; one for the process."""

    def __init__(self, counters: Counters | None = None, rules: Rules = NO_RULES) -> None:
        """Without counters nothing is limited, and prices count all the same."""
        self.rules = rules
        self._counters = counters
        self._plans: dict[tuple[str, str, str], tuple[Principal, Bound | None]] = {}

    def change(self, rules: Rules) -> None:
        """Takes other rules; requests under way keep theirs."""
        self.rules = rules
        self._plans.clear()

    def unlimited(self, principal: Principal, call: Call) -> Bill | None:
        """The bill of a call that nothing limits, so that there is nothing to wait for; else None."""
        rules = self.rules
        return None if principal.accounts or rules.models else Bill(rules.prices, principal, call)

    async def begin(
        self, principal: Principal, call: Call, targets: Sequence[Target], at_once: int = 1
    ) -> Bill:
        """Reserves the most that the call can come to at the dearest of its targets; the bill is to be ended.

        `at_once` is how many of them may be asked at the same time. Raises RateLimited or InsufficientQuota,
        and Overloaded while the counters are away.
        """
        rules = self.rules
        bill = Bill(rules.prices, principal, call)
        bound = self._bound(principal, call, targets[0].model)
        if bound is not None:
            longest = rules.longest_answer(targets[0].model)
            longest = min(longest, max(target.traits.context_tokens or longest for target in targets))
            bill.demand = wanted = demand(call.request, call.fields, longest)
            dearest = max(bill.held(target).price_nanodollars for target in targets)
            bill.hold = await bound.reserve(wanted.tokens * at_once, dearest * at_once)
        return bill

    def meters(self, principal: Principal, model: str, user: str) -> tuple[Meter, ...]:
        """Everything that a request of this caller, for this model, by this end user is counted in."""
        found = meters(principal.accounts, model, NO_LIMITS, user)
        for pattern, limits in self.rules.models.items():
            if fits(pattern, model):
                found += meters((), pattern, limits, "")
        return found

    def _bound(self, principal: Principal, call: Call, model: str) -> Bound | None:
        user = ""
        for account in principal.accounts:
            if account.user_limits is not NO_LIMITS and account.user_limits != NO_LIMITS:
                user = getattr(call.request, "user", None) or ""
        place = (principal.key_id, model, user)
        plan = self._plans.get(place)
        if plan is None or plan[0] is not principal:
            found = self.meters(principal, model, user)
            if len(self._plans) >= PLANS:
                self._plans.clear()
            bound = self._counters.bind(found) if found and self._counters is not None else None
            plan = self._plans[place] = (principal, bound)
        return plan[1]
