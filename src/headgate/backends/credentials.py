"""Several keys of one upstream: asked in turn, and rested one by one.

Must not know what a key is good for: whoever judges a refusal says how long its key is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from headgate.backends.upstreams import Heads, Place, RemoteUpstream
from headgate.core.ports import Dialect, Outgoing, Reply


class Keyring:
    """Which key is next (`headgate.core.ports.Keyring`). A key is its place in a list: none is seen here."""

    __slots__ = ("_next", "_rest_until_s")

    def __init__(self, count: int) -> None:
        self._rest_until_s = [0.0] * count
        self._next = 0

    def take(self, now_s: float) -> int:
        """The next key in turn that is not resting; when all are, the one that is so for the shortest."""
        count = len(self._rest_until_s)
        for step in range(count):
            index = (self._next + step) % count
            if self._rest_until_s[index] <= now_s:
                self._next = index + 1
                return index
        return self._rest_until_s.index(min(self._rest_until_s))

    def rest(self, key: int, now_s: float, rest_ms: int) -> None:
        """Leaves a key alone for a while; its longest rest counts."""
        self._rest_until_s[key] = max(self._rest_until_s[key], now_s + rest_ms / 1000)

    def waits_ms(self, now_s: float) -> int:
        """How long until one may be asked; 0 when one may now."""
        return max(0, int((min(self._rest_until_s) - now_s) * 1000))

    def at_hand(self, now_s: float) -> int:
        """How many are not resting."""
        return sum(until_s <= now_s for until_s in self._rest_until_s)


class KeyedUpstream(RemoteUpstream):
    """A remote upstream with several keys; implements `headgate.core.ports.Upstream`."""

    def __init__(
        self, name: str, dialect: Dialect, places: Sequence[Place], max_in_flight: int | None
    ) -> None:
        """`places` are one and the same, each with another key; they share a pool."""
        super().__init__(name, dialect, places[0], max_in_flight)
        self._each = [Heads(place) for place in places]
        self.keyring = Keyring(len(places))
        """Who refuses a key says so here."""
        self._clock = asyncio.get_running_loop().time

    def send(self, outgoing: Outgoing, *, fresh: bool = False) -> Awaitable[Reply]:
        """Sends one request with the key whose turn it is (`headgate.core.ports.Upstream.send`)."""
        outgoing.key = self.keyring.take(self._clock())
        body = outgoing.mended or outgoing.body
        return self._pool.send(self._each[outgoing.key].head(outgoing, len(body)), body, fresh=fresh)
