"""The records that the store hands out: what a row of each table means. Nothing here does anything.

Times are Unix milliseconds, money is nano-dollars. Lists that are None restrict nothing.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from headgate.core.limit import NO_LIMITS, Budget, Limits
from headgate.core.money import Ratio

PostingKind = Literal["credit", "redeem", "debit", "usage"]


class Team(msgspec.Struct, frozen=True, kw_only=True):
    """Some keys that share limits, budgets and a balance."""

    id: str
    name: str
    disabled: bool = False
    """None of its keys opens."""
    prepaid: bool = False
    """It spends its balance, and nothing beyond."""
    limits: Limits = NO_LIMITS
    model_limits: dict[str, Limits] = {}
    user_limits: Limits = NO_LIMITS
    multipliers: dict[str, Ratio] = {}
    """Price over cost, by model name or pattern; the first that fits counts."""
    metadata: dict[str, str] = {}
    created_ms: int = 0
    deleted_ms: int | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret."""

    id: str
    name: str
    team_id: str | None = None
    """For good: what it used would otherwise change hands."""
    owner: str = ""
    """Whoever it was given to, in the operator's words."""
    shown: str = ""
    """Enough of its secret to tell it from others."""
    scopes: tuple[str, ...] | None = None
    """Endpoints that it may call."""
    models: tuple[str, ...] | None = None
    """Names and patterns (`*`, `?`) of models that it may use."""
    networks: tuple[str, ...] | None = None
    """Where it may be used from (CIDR)."""
    disabled: bool = False
    expires_ms: int | None = None
    tags: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS
    model_limits: dict[str, Limits] = {}
    user_limits: Limits = NO_LIMITS
    metadata: dict[str, str] = {}
    created_ms: int = 0
    deleted_ms: int | None = None


class KeySecret(msgspec.Struct, frozen=True, kw_only=True):
    """One secret that opens for a key."""

    sha256: bytes
    key_id: str
    created_ms: int = 0
    expires_ms: int | None = None
    """The end of its grace after a rotation."""


class AccountBudget(msgspec.Struct, frozen=True, kw_only=True):
    """A budget and whose it is."""

    account: str
    """`key:ID` or `team:ID`."""
    budget: Budget
    created_ms: int = 0


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """A credit (above zero) or debit (below) of a team's balance."""

    id: int
    team_id: str
    at_ms: int
    kind: PostingKind
    amount_nanodollars: int
    note: str = ""
    actor: str = ""
    reference: str | None = None
    """What it was booked for; booked once."""


class RedeemCode(msgspec.Struct, frozen=True, kw_only=True):
    """A single-use credit, without its secret."""

    id: int
    shown: str
    amount_nanodollars: int
    note: str = ""
    created_ms: int = 0
    expires_ms: int | None = None
    redeemed_ms: int | None = None
    redeemed_by: str | None = None
    withdrawn: bool = False


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A price that overrides what comes along."""

    id: str
    model: str
    """A name or pattern."""
    upstream: str = ""
    """Empty for any."""
    valid_from_ms: int = 0
    valid_until_ms: int | None = None
    price: dict[str, Any] = {}
    """In the words of `core.price`."""
    created_ms: int = 0


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream that was made here rather than in the configuration file; its key is sealed."""

    name: str
    settings: dict[str, Any] = {}
    """In the words of the configuration file's `[[upstream]]`, without the key."""
    credential: bytes | None = None
    """Sealed; see `store.seal`."""
    disabled: bool = False
    created_ms: int = 0


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was made here."""

    name: str
    settings: dict[str, Any] = {}
    """In the words of the configuration file's `[[model]]`."""
    disabled: bool = False
    created_ms: int = 0


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """Another name for a model."""

    name: str
    model: str
    created_ms: int = 0


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told of what."""

    id: str
    url: str
    events: tuple[str, ...] = ()
    secret: bytes = b""
    """Sealed; signs what is sent."""
    disabled: bool = False
    created_ms: int = 0


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be told to one webhook."""

    id: int
    webhook_id: str
    event: str
    subject: str
    body: dict[str, Any]
    created_ms: int = 0
    tries: int = 0
    next_ms: int | None = None
    delivered_ms: int | None = None
    failure: str = ""


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """One change that somebody made."""

    id: int
    at_ms: int
    actor: str
    action: str
    kind: str
    object_id: str = ""
    request_id: str = ""
    detail: dict[str, Any] = {}


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A value that is kept in the database."""

    name: str
    value: Any = None
