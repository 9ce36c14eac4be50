"""Model name to target: a pure function over a table that is replaced whole when settings change."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from headgate.core.errors import ModelNotFound
from headgate.core.ports import Upstream


class Target(msgspec.Struct, frozen=True):
    """Where requests for one model go."""

    model: str
    """The model's own name, aliases resolved."""
    upstream: Upstream
    upstream_model: str
    """The name it has there."""
    created_s: int
    """Unix time since which it is known, for the list of models."""
    owner: str
    """Shown as `owned_by`."""


class Models(msgspec.Struct, frozen=True):
    """The table of models."""

    targets: Mapping[str, Target]
    """By every name a client may use; an alias has the target of its model."""


def route(models: Models, name: str) -> Target:
    """The target for a model name; raises ModelNotFound."""
    target = models.targets.get(name)
    if target is None:
        shown = name if len(name) <= 100 else name[:100] + "…"
        raise ModelNotFound(f"The model '{shown}' does not exist or you do not have access to it.")
    return target
