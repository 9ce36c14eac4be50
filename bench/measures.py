"""What a measure is: a question asked of every contestant round by round, and the rows it gives."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bench.load import Upstream, Wrong
from bench.ratios import Spread
from bench.servers import Field, Server

SLOW_ROUNDS = 3  # a slow contestant takes part in the first rounds only: its ratio is far from any doubt


@dataclass(frozen=True)
class Plan:
    """How long a run takes: rounds, seconds a turn, and who takes part."""

    rounds: int
    seconds: float


@dataclass(frozen=True)
class Target:
    """What Headgate's median has to reach."""

    limit: float
    at_least: bool

    def met(self, value: float) -> bool:
        """Whether a median reaches it."""
        return value >= self.limit if self.at_least else value <= self.limit

    def shown(self) -> str:
        """As `>= 0.6`."""
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


@dataclass
class Row:
    """One line of the table: what, in which unit, each contestant's spread, and Headgate's target."""

    name: str
    unit: str
    digits: int = 2
    target: Target | None = None
    cells: dict[str, Spread | str] = field(default_factory=dict)
    absolute: dict[str, list[float]] = field(default_factory=dict)
    void: str = ""


class Series:
    """Numbers of one measure: contestant -> one value a round; a contestant that fails once is out."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}
        self.wrong: dict[str, str] = {}

    def add(self, name: str, value: float) -> None:
        """Keeps one round's value."""
        self.values.setdefault(name, []).append(value)

    def whole(self) -> Iterable[str]:
        """The contestants with a value in every round."""
        return [name for name in self.values if name not in self.wrong]


def rounds(
    field_: Field,
    upstream: Upstream,
    plan: Plan,
    measure: Callable[[Server, Upstream, Plan], dict[str, float]],
) -> dict[str, Series]:
    """Asks A B A B ...: `measure` gives named values for one turn of one contestant."""
    series: dict[str, Series] = {}
    wrong = dict(field_.absent)
    for number in range(plan.rounds):
        for name in field_.servers:
            slow = field_.servers[name].contestant.slow
            if name in wrong or (slow and number >= SLOW_ROUNDS):
                continue
            with field_.measured(name) as server:
                try:
                    values = measure(server, upstream, plan)
                except Wrong as reason:
                    wrong[name] = str(reason)
                    print(f"  {name}: {reason}", file=sys.stderr)
                    continue
            shown = ", ".join(f"{key} {value:.6g}" for key, value in values.items())
            print(f"  round {number + 1} {name}: {shown}", file=sys.stderr, flush=True)
            for key, value in values.items():
                series.setdefault(key, Series()).add(name, value)
    for one in series.values():
        one.wrong.update(wrong)
    return series
