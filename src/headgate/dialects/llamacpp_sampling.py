"""What llama.cpp takes for numbers: its own fields, and the bounds of OpenAI's."""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.body import Fields

OWN_NUMBERS = {"top_k": (0, 2**31 - 1), "min_p": (0, 1), "typical_p": (0, 1), "repeat_penalty": (0.01, 100)}
"""llama.cpp's own fields that its clients know and that can do no harm, with their ranges."""

LARGEST_COUNT = 2**31 - 1
"""What llama.cpp takes for a number of tokens; more than any context."""

RANDOM_SEED = 2**32 - 1
"""Means "no seed" to llama.cpp, which knows 32 bits."""


def own_numbers(body: dict[str, Any], fields: Fields) -> None:
    """Copies llama.cpp's own numbers into `body`; raises InvalidField for one out of range."""
    for name, (low, high) in OWN_NUMBERS.items():
        if name in fields:
            body[name] = _number(fields[name], name, low, high)


def stop_words(stop: str | list[str]) -> list[str]:
    """What ends a text. An empty one would stop at once."""
    return [word for word in ([stop] if isinstance(stop, str) else stop) if word]


def _number(raw: msgspec.Raw, name: str, low: float, high: float) -> float | None:
    try:
        number = msgspec.json.decode(raw, type=int | float | None)
    except msgspec.ValidationError:
        raise violation.wrong_value(name, f"Invalid value for '{name}': expected a number.") from None
    if number is not None and number < low:
        raise violation.below_minimum(name, "decimal", low, str(number))
    if number is not None and number > high:
        raise violation.above_maximum(name, "decimal", high, str(number))
    return number
