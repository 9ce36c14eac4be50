"""A process of a crowd: many requests at once against one budget in Redis; prints how many were let through.

`python -m tests.store.crowd URL PREFIX COUNT [stay]`; with `stay` it keeps its holds until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC

from headgate.core.errors import InsufficientQuota
from headgate.core.limit import Account, Budget, Limits, meters
from headgate.store.counters_redis import RedisCounters, SharedOptions
from headgate.store.redis import parse_url

ACCOUNT = Account(
    id="key:k",
    limits=Limits(concurrent_requests=1_000_000, requests_per_minute=1_000_000),
    budgets=(Budget(amount_nanodollars=1000, period="once"),),
)
METERS = meters((ACCOUNT,), "m", Limits(), "")


class Nothing:
    """A ledger without entries."""

    async def spent(self, account: str, since_ms: int) -> int:
        return 0

    async def balance(self, team_id: str) -> int:
        return 0

    async def credited(self, team_id: str) -> int:
        return 0


def shared(url: str, prefix: str, lease_ms: int = 600) -> RedisCounters:
    """Counters as every process of the crowd has them."""
    return RedisCounters(
        parse_url(url),
        Nothing(),
        UTC,
        wall_ms=lambda: time.time_ns() // 1_000_000,
        on_crossing=lambda crossing: None,
        options=SharedOptions(prefix=prefix, lease_ms=lease_ms),
    )


async def main(url: str, prefix: str, count: int, stay: bool) -> None:
    counters = shared(url, prefix)
    await counters.start()
    bound = counters.bind(METERS)
    results = await asyncio.gather(*(bound.reserve(1, 10) for _ in range(count)), return_exceptions=True)
    passed = [one for one in results if not isinstance(one, BaseException)]
    assert all(isinstance(one, InsufficientQuota) for one in results if isinstance(one, BaseException)), (
        results
    )
    print(len(passed), flush=True)
    if stay:
        await asyncio.Event().wait()
    for hold in passed:
        hold.settle(1, 10)
    await counters.stop()
    assert counters.unconfirmed == 0


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), len(sys.argv) > 4))
