"""The Protocols and records of accounting: what is held for an attempt, what it comes to, who counts.

A part of `core.ports` in a file of its own. Nothing here does anything.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from headgate.core.limit import Budget, Meter


class Held(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The most that an attempt may use and cost, and on whose account it goes.

    An attempt whose end nobody saw is settled within that.
    """

    tokens: int = 0
    cost_nanodollars: int = 0
    price_nanodollars: int = 0
    team_id: str = ""
    user: str = ""
    """The client's own end user, as it named it."""


NOTHING_HELD = Held()


class Charge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an attempt comes to."""

    cost_nanodollars: int = 0
    """What the upstream asks."""
    price_nanodollars: int = 0
    """What the team pays."""


FREE = Charge()


class Spending(Protocol):
    """What the ledger says was spent, for counters that begin with nothing."""

    async def spent(self, account: str, since_ms: int) -> int:
        """The price in nano-dollars of all attempts of `key:ID` or `team:ID` opened at or after a time.

        Whatever was closed in the journal before the call is in it, carried to the database or not.
        """
        ...

    async def balance(self, team_id: str) -> int:
        """The sum of a team's credits and debits in nano-dollars, as complete as `spent`."""
        ...

    async def credited(self, team_id: str) -> int:
        """The same without what was used: what has been paid in and out by hand."""
        ...


class Crossing(msgspec.Struct, frozen=True):
    """A part of a budget has been spent that the operator wants to be told of."""

    fund: str
    account: str
    budget: Budget
    percent: int
    start_ms: int
    """Of the period; together with `fund` and `percent` it happens once."""
    spent_nanodollars: int


class Standing(msgspec.Struct, frozen=True):
    """How a rate stands after a request was admitted; for headers."""

    limit: int
    remaining: int
    reset_ms: int
    """Until the bucket is full again."""


class Hold(Protocol):
    """What one admitted request has reserved; settle every one."""

    requests: Standing | None
    """Of the meters for requests, the one that has least left."""
    tokens: Standing | None

    async def spend(self, tokens: int, amount_nanodollars: int) -> bool:
        """Books what an attempt used and reserves the same again for another; False if that is not there."""
        ...

    def settle(self, tokens: int, amount_nanodollars: int) -> None:
        """Replaces what is reserved by what was used; only the first call counts."""
        ...


class Bound(Protocol):
    """The counters behind a tuple of meters, found once and used by every request that has the same."""

    async def reserve(self, tokens: int, amount_nanodollars: int) -> Hold:
        """Takes one request, so many tokens and so much money from every meter, or nothing from any.

        Raises RateLimited or InsufficientQuota, and Overloaded where the counters are away.
        """
        ...


class Counters(Protocol):
    """Where everything that is limited is counted: in this process, or shared by several."""

    def bind(self, meters: tuple[Meter, ...]) -> Bound:
        """The counters of these meters; keep it as long as they hold."""
        ...
