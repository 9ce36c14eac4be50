"""The counters behind /metrics: plain numbers, bumped once per request, read when somebody asks.

Must not know how they are shown. One thread writes; another may read, and sees each number whole.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from headgate.core.ports import Outcome

DURATION_BOUNDS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""What OpenTelemetry's GenAI conventions advise for `gen_ai.server.request.duration`."""
FIRST_TOKEN_BOUNDS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0),
)
"""Their advice for `gen_ai.server.time_to_first_token`, and 30 s for models that reason first."""
BETWEEN_BOUNDS_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    0.75,
    1.0,
    2.5,
    10.0,
)
"""Their advice for `gen_ai.server.time_per_output_token`, and finer steps at its lower end."""
LAG_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""From what nobody notices to what a client takes for an outage."""

MOST_SERIES = 1000
"""Each has about seventy lines on the page: more would be a burden to whoever reads it. What comes later is
counted together, as OTHER."""
OTHER = "other"

Key = tuple[str, str, str]
"""Endpoint, model and target: the only labels that come from outside, and all three from tables of ours."""


class Histogram:
    """Counts by upper bound (inclusive, as Prometheus has it), and the sum of what was counted."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Not cumulated; the last one is for what is over every bound."""
        self.total = 0.0

    def add(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Series:
    """Everything counted for one endpoint, model and target."""

    __slots__ = (
        "attempts", "between", "cached_tokens", "characters", "completion_tokens", "duration", "errors",
        "estimated", "first_token", "images", "prompt_tokens", "reasoning_tokens", "requests", "seconds",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests = 0
        self.errors: dict[str, int] = {}
        """By kind; kinds are classes of our error tree, so there are few."""
        self.attempts = [0] * len(Outcome)
        """What was sent upstream, by outcome."""
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        self.images = 0
        self.seconds = 0
        self.characters = 0
        self.estimated = 0
        """Attempts whose tokens nobody reported."""
        self.duration = Histogram(DURATION_BOUNDS_S)
        self.first_token = Histogram(FIRST_TOKEN_BOUNDS_S)
        self.between = Histogram(BETWEEN_BOUNDS_S)


class Counters:
    """All series, made when they are first needed, up to a cap."""

    def __init__(self, most_series: int = MOST_SERIES) -> None:
        self.known: dict[Key, Series] = {}
        """Those that there are; ask `series` for one that may be new."""
        self._most_series = most_series
        self.lag = Histogram(LAG_BOUNDS_S)
        """How late the event loop came to its clock."""
        self.log_lines_dropped = 0
        """Because nobody took them in time."""
        self.traces_dropped = 0

    def series(self, endpoint: str, model: str, target: str) -> Series:
        """The series of these labels, or over the cap the one that stands for all others."""
        return self.known.get((endpoint, model, target)) or self._make(endpoint, model, target)

    def all(self) -> Iterator[tuple[Key, Series]]:
        """Every series with its labels, in the order in which they were first needed."""
        # A copy: the loop may add one while another thread reads.
        yield from list(self.known.items())

    def _make(self, endpoint: str, model: str, target: str) -> Series:
        key = (endpoint, model, target)
        if len(self.known) >= self._most_series:
            # Endpoints are few and stay; it is models and targets that a configuration can have in thousands.
            key = (endpoint, OTHER, OTHER)
        found = self.known.get(key)
        if found is None:
            self.known[key] = found = Series()
        return found
