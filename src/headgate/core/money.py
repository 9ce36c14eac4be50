"""Money without floats: int64 nano-dollars, ratios of whole numbers, and one rounding per entry. Pure.

A price is an integer of nano-dollars per million units, so a sum of counts times prices is exact, in
millionths of a nano-dollar, until `charge` rounds it up.
"""

from __future__ import annotations

import re

import msgspec

DOLLAR = 1_000_000_000
"""Nano-dollars in one."""
UNITS_PER_PRICE = 1_000_000
"""Prices are per so many units."""
LARGEST = 2**63 - 1
"""What a database column holds: nine billion dollars."""
_DECIMALS = 9
_MAX_DIGITS = 19
"""No more digits than `LARGEST` has: text from outside must not become a number of a million digits."""
_AMOUNT = re.compile(rf"(-?)([0-9]{{1,{_MAX_DIGITS}}})(?:\.([0-9]{{1,{_MAX_DIGITS}}}))?")


class Ratio(msgspec.Struct, frozen=True, order=False):
    """A factor as two whole numbers, such as 5/4 for a quarter more."""

    numerator: int = 1
    denominator: int = 1


ONE = Ratio()


def parse_dollars(text: str) -> int:
    """Nano-dollars of an amount such as `12.50`; raises ValueError for what is none, or is finer."""
    whole, fraction, sign = _digits(text)
    if len(fraction) > _DECIMALS:
        raise ValueError(f"a nano-dollar is the least amount: at most {_DECIMALS} decimals")
    amount = int(whole) * DOLLAR + int(fraction.ljust(_DECIMALS, "0"))
    if amount > LARGEST:
        raise ValueError("an amount of less than nine billion dollars")
    return sign * amount


def format_dollars(amount_nanodollars: int) -> str:
    """The amount as people read it, exact: at least two decimals, further ones only where they are not 0."""
    whole, fraction = divmod(abs(amount_nanodollars), DOLLAR)
    decimals = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount_nanodollars < 0 else ''}{whole}.{decimals}"


def parse_ratio(text: str) -> Ratio:
    """A factor such as `1.25`; raises ValueError."""
    whole, fraction, sign = _digits(text)
    if sign < 0:
        raise ValueError("a factor that is not negative")
    if len(fraction) > _DECIMALS:
        raise ValueError(f"at most {_DECIMALS} decimals")
    denominator: int = 10 ** len(fraction)
    numerator = int(whole) * denominator + int(fraction or "0")
    if numerator > LARGEST:
        raise ValueError("a smaller factor")
    return Ratio(numerator, denominator)


def charge(exact: int, ratio: Ratio = ONE) -> int:
    """Nano-dollars of an exact sum (counts times prices), times a factor, rounded up once.

    What is too large for a database column is cut to the largest that is not.
    """
    divisor = UNITS_PER_PRICE
    if ratio is not ONE:
        exact *= ratio.numerator
        divisor *= ratio.denominator
    return min(-(-exact // divisor), LARGEST)


def _digits(text: str) -> tuple[str, str, int]:
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise ValueError("an amount such as 12.50")
    return found[2], (found[3] or "").rstrip("0"), -1 if found[1] else 1
