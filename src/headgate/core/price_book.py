"""Which price counts: the operator's own in the database, those of the configuration, those that come along.

Pure: where the last ones come from is a function that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from headgate.core.limit import fits
from headgate.core.price import Price, Tariff

Defaults = Callable[[str, str], tuple[Price, ...]]
"""Upstream and the model's name there to prices that come along; empty where nobody knows."""


class Listed(msgspec.Struct, frozen=True):
    """A price of the operator's."""

    model: str
    """A name or pattern."""
    upstream: str
    """Empty for any."""
    price: Price


class PriceBook:
    """All prices; replaced whole when one changes."""

    def __init__(self, own: Sequence[Listed], configured: Sequence[Listed], defaults: Defaults) -> None:
        """`own` in the order of their making."""
        self._lists = (own, configured)
        self._defaults = defaults
        self._found: dict[tuple[str, str, str], Tariff] = {}

    def tariff(self, model: str, upstream: str, upstream_model: str) -> Tariff:
        """All prices of a model at an upstream, the one that counts first."""
        place = (model, upstream, upstream_model)
        found = self._found.get(place)
        if found is None:
            found = self._found[place] = self._find(model, upstream, upstream_model)
        return found

    def _find(self, model: str, upstream: str, upstream_model: str) -> Tariff:
        prices: list[Price] = []
        for listed in self._lists:
            fitting = [
                (_exactness(one), number, one.price)
                for number, one in enumerate(listed)
                if one.upstream in ("", upstream) and fits(one.model, model)
            ]
            # The most exact one counts, and of two the later, for it was made to replace the other.
            prices += [price for *_, price in sorted(fitting, key=lambda one: one[:2], reverse=True)]
        return Tariff((*prices, *self._defaults(upstream, upstream_model)))


def _exactness(listed: Listed) -> tuple[bool, bool, int]:
    pattern = "*" in listed.model or "?" in listed.model
    return (not pattern, bool(listed.upstream), len(listed.model))
