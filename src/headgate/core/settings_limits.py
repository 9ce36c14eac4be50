"""`[limits]`: what all callers together may use of a model, what is reserved, and where it is counted."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from headgate.core.limit import Limits
from headgate.core.secret import Secret
from headgate.core.settings_kinds import ModelName

Tokens = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[limits]`: the limits of keys and teams are kept with them, in the database."""

    models: dict[ModelName, Limits] = {}
    """By model name or pattern (`*`, `?`): what all callers together may use. Of several that fit each one
    counts for itself."""
    answer_tokens: Tokens = 16_384
    """What is reserved for the answer where neither the request nor `answers` says how long it may be: most
    models stop there."""
    answers: dict[ModelName, Tokens] = {}
    """The same by model name or pattern; the first that fits counts."""
    redis: Secret | None = None
    """`{ env = "NAME" }` or `{ file = "PATH" }` with a URL such as `redis://:password@host:6379/0`: what is
    limited is counted there, for several processes. Without it, in this process's memory."""
    redis_prefix: Annotated[str, Meta(min_length=1, max_length=64)] = "{headgate}:"
    """Begins every key there. The braces keep all of them on one node of a cluster."""
    redis_away: Literal["refuse", "allow"] = "refuse"
    """What becomes of requests that are limited while Redis cannot be asked: 503, or they go on uncounted."""
    redis_timeout_ms: Annotated[int, Meta(ge=10, le=60_000)] = 1000
    """An answer takes less than a millisecond; what takes a second is away."""
    redis_lease_ms: Annotated[int, Meta(ge=1000, le=3_600_000)] = 15_000
    """What a process has reserved that is not heard of for so long is settled as unknown by the others."""
