"""Names that we give: ids of records, in the order of their making. Must not know what they are for."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no two letters look alike, and order is that of the numbers."""
_TIME_LETTERS = 9
"""45 bits of milliseconds: until the year 3084."""
_CHANCE_LETTERS = 11
"""55 bits: two in the same millisecond differ."""


def new_id(prefix: str) -> str:
    """A new id such as `key_01kd...`; later ones sort behind earlier ones."""
    stamp = (time.time_ns() // 1_000_000) << (5 * _CHANCE_LETTERS)
    return f"{prefix}_{_letters(stamp | secrets.randbits(5 * _CHANCE_LETTERS))}"


def _letters(number: int) -> str:
    return "".join(
        _ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(_TIME_LETTERS + _CHANCE_LETTERS))
    )
