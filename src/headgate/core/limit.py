"""What an account may use, as data, and the meters that follow from it. Pure; nothing is counted here.

An account is whoever limits are kept for: a key, a team. A meter is one thing to look at when a request
comes: its id is the same in every process and after every start, for the counter behind it is found by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Annotated, Literal

import msgspec

from headgate.core.money import ONE, Ratio

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS

LONGEST_USER = 64
"""As long as a hash."""

Count = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
"""Up to which every counter is exact."""

Period = Literal["once", "day", "week", "month"]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Rates, and what one request may be; None is no limit.

    A rate is a bucket: it holds a whole period's worth, and fills again evenly.
    """

    requests_per_minute: Count | None = None
    requests_per_day: Count | None = None
    tokens_per_minute: Count | None = None
    tokens_per_day: Count | None = None
    concurrent_requests: Count | None = None
    tokens_per_request: Count | None = None
    """Prompt and the longest answer that was allowed, together."""


NO_LIMITS = Limits()


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may be spent in a period of the operator's calendar, in the team's prices."""

    amount_nanodollars: int
    period: Period = "month"
    hard: bool = True
    """Refuse what would pass it; else only tell."""
    warn_percent: tuple[int, ...] = (80, 100)
    """Parts of it that are told to the operator's webhook when they have been spent."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A key or a team, as far as it is counted."""

    id: str
    """`key:ID` or `team:ID`."""
    limits: Limits = NO_LIMITS
    model_limits: Mapping[str, Limits] = {}
    """What it may use of models, by name or pattern (`*`, `?`); each pattern is counted for itself."""
    user_limits: Limits = NO_LIMITS
    """What each of its end users may use (the request's `user`)."""
    budgets: tuple[Budget, ...] = ()
    """At most one hard and one soft for each period."""
    prepaid: bool = False
    """It spends a balance, and nothing beyond."""
    multipliers: Mapping[str, Ratio] = {}
    """Price over cost, by model name or pattern; the first that fits counts."""

    def multiplier(self, model: str) -> Ratio:
        """What this account pays of what a model costs."""
        for pattern, ratio in self.multipliers.items():
            if fits(pattern, model):
                return ratio
        return ONE


class Rate(msgspec.Struct, frozen=True):
    """A bucket of requests or tokens."""

    id: str
    of: Literal["requests", "tokens"]
    limit: int
    period_ms: int


class Places(msgspec.Struct, frozen=True):
    """So many requests at once."""

    id: str
    limit: int


class Size(msgspec.Struct, frozen=True):
    """So many tokens in one request; counts nothing."""

    id: str
    limit: int


class Fund(msgspec.Struct, frozen=True):
    """Money that can be spent: a budget, or a balance."""

    id: str
    account: str
    budget: Budget | None
    """None for a balance."""


Meter = Rate | Places | Size | Fund


def fits(pattern: str, model: str) -> bool:
    """Whether a name or pattern of the operator's means this model; letters count as they are written."""
    if "*" not in pattern and "?" not in pattern:
        return pattern == model
    return fnmatchcase(model, pattern.replace("[", "[[]"))  # brackets are letters here


def meters(accounts: tuple[Account, ...], model: str, of_model: Limits, user: str) -> tuple[Meter, ...]:
    """Everything to look at for a request; empty where nothing is limited.

    `of_model` is what all callers together may use of the model.
    """
    found = list(_of_limits(f"model:{model}", of_model))
    for account in accounts:
        found += _of_limits(account.id, account.limits)
        for pattern, limits in account.model_limits.items():
            if fits(pattern, model):
                found += _of_limits(f"{account.id}/model:{pattern}", limits)
        if user and account.user_limits != NO_LIMITS:
            found += _of_limits(f"{account.id}/user:{_short(user)}", account.user_limits)
        for budget in account.budgets:
            kind = "" if budget.hard else "/soft"
            found.append(Fund(f"{account.id}/{budget.period}{kind}", account.id, budget))
        if account.prepaid:
            found.append(Fund(f"{account.id}/balance", account.id, None))
    return tuple(found)


def _short(user: str) -> str:
    """A name for counters: clients may send any text, and a long one is kept as its hash."""
    if len(user) <= LONGEST_USER:
        return user
    return sha256(user.encode()).hexdigest()


def _of_limits(account: str, limits: Limits) -> Iterator[Meter]:
    if limits.requests_per_minute is not None:
        yield Rate(f"{account}/rpm", "requests", limits.requests_per_minute, MINUTE_MS)
    if limits.requests_per_day is not None:
        yield Rate(f"{account}/rpd", "requests", limits.requests_per_day, DAY_MS)
    if limits.tokens_per_minute is not None:
        yield Rate(f"{account}/tpm", "tokens", limits.tokens_per_minute, MINUTE_MS)
    if limits.tokens_per_day is not None:
        yield Rate(f"{account}/tpd", "tokens", limits.tokens_per_day, DAY_MS)
    if limits.concurrent_requests is not None:
        yield Places(f"{account}/places", limits.concurrent_requests)
    if limits.tokens_per_request is not None:
        yield Size(f"{account}/size", limits.tokens_per_request)
