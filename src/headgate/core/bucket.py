"""A rate limit as a bucket, exact to the millisecond: whole numbers, no drift. Pure.

This is GCRA with its state as a debt: what is taken is owed, and paid off evenly, a limit's worth in each
period. A debt is in parts of a unit, as many as the period has milliseconds: then one limit is paid in each
millisecond, and nothing is ever rounded. The Lua of `store.counters_redis` keeps the same two numbers.
"""

from __future__ import annotations


class Bucket:
    """One bucket; times are milliseconds on any clock that does not go back."""

    __slots__ = ("at_ms", "debt", "limit", "period_ms")

    def __init__(self, limit: int, period_ms: int) -> None:
        self.limit = limit
        self.period_ms = period_ms
        self.debt = 0
        """In parts of a unit; survives a change of the limit."""
        self.at_ms = 0

    def pay(self, now_ms: int) -> int:
        """The debt now."""
        passed = now_ms - self.at_ms
        if passed > 0:
            self.at_ms = now_ms
            if self.debt:
                debt = self.debt - passed * self.limit
                self.debt = max(0, debt)
        return self.debt

    def wait_ms(self, count: int, now_ms: int) -> int:
        """How long until `count` units fit: 0 when they do, -1 when they never will."""
        if count > self.limit:
            return -1
        over = self.pay(now_ms) + (count - self.limit) * self.period_ms
        if over <= 0:
            return 0
        return -(-over // self.limit) if self.limit else -1

    def take(self, count: int) -> None:
        """Takes units, or gives back where `count` is negative; a bucket that is full takes none back."""
        debt = self.debt + count * self.period_ms
        self.debt = max(0, debt)

    @property
    def remaining(self) -> int:
        """Whole units that may be taken."""
        left = self.limit * self.period_ms - self.debt
        return left // self.period_ms if left > 0 else 0

    @property
    def reset_ms(self) -> int:
        """How long until it is full."""
        return -(-self.debt // self.limit) if self.limit else 0
