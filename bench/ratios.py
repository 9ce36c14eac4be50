"""The statistics of paired runs: ratios round by round, their median and range. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """A median of rounds with its smallest and largest."""

    median: float
    low: float
    high: float

    def shown(self, digits: int = 2, unit: str = "") -> str:
        """As `median (low-high) unit`."""
        text = f"{_number(self.median, digits)} ({_number(self.low, digits)}-{_number(self.high, digits)})"
        return f"{text} {unit}" if unit else text


def _number(value: float, digits: int) -> str:
    # 0.0007 at two digits would be 0.00: small values keep two significant digits.
    if value and abs(value) < 10**-digits:
        return f"{value:.1g}"
    return f"{value:.{digits}f}"


def spread(values: Sequence[float]) -> Spread:
    """Median and range of at least one value."""
    return Spread(median(values), min(values), max(values))


def ratios(of: Sequence[float], to: Sequence[float]) -> Spread:
    """The spread of `of[i] / to[i]`: values of one round are compared; `of` may end earlier."""
    return spread([a / b for a, b in zip(of, to[: len(of)], strict=True)])


def differences(of: Sequence[float], to: Sequence[float]) -> Spread:
    """The spread of `of[i] - to[i]`, likewise."""
    return spread([a - b for a, b in zip(of, to[: len(of)], strict=True)])
