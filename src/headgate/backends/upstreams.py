"""An upstream as the gateway sees it: its place, the head of every request there, how many are in flight.

Must not know what is asked: that is its dialect's, and the gateway's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from urllib.parse import quote, urlencode

import msgspec

from headgate import __version__
from headgate.backends.pool import Pool
from headgate.core.address import Address
from headgate.core.errors import ConnectFailed, QueueFull
from headgate.core.ports import Dialect, Engine, Headers, Outgoing, Reply

BUSY_RETRY_MS = 1000
"""When to come back to a full queue: about the length of one short answer."""


KEPT_PATHS = 1024
"""Beginnings of heads that are kept, of half a kilobyte each: a client may name models without end, where an
upstream takes any."""


class Place(msgspec.Struct, frozen=True):
    """Where an upstream can be reached now, and with what."""

    pool: Pool
    address: Address
    headers: Headers = ()
    """Credentials and what else every request there carries."""
    query: Sequence[tuple[str, str]] = ()


class InFlight:
    """Counts the requests at one upstream, up to a limit."""

    __slots__ = ("_emptied", "_limit", "count")

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._emptied: asyncio.Event | None = None
        self.count = 0

    def enter(self) -> None:
        """Takes a place; raises QueueFull when there is none."""
        if self._limit is not None and self.count >= self._limit:
            raise QueueFull(
                "Too many requests are waiting for this model. Try again shortly.",
                retry_after_ms=BUSY_RETRY_MS,
            )
        self.count += 1

    def leave(self) -> None:
        """Gives the place back."""
        self.count -= 1
        if self._emptied is not None and self.count == 0:
            self._emptied.set()

    async def emptied(self) -> None:
        """Returns when no request is in flight."""
        if self.count:
            self._emptied = self._emptied or asyncio.Event()
            self._emptied.clear()
            await self._emptied.wait()


class RemoteUpstream:
    """An upstream at a fixed place; implements `headgate.core.ports.Upstream`."""

    def __init__(self, name: str, dialect: Dialect, place: Place, max_in_flight: int | None) -> None:
        self.name = name
        self.dialect = dialect
        self._pool = place.pool
        self._heads = Heads(place)
        in_flight = InFlight(max_in_flight)
        self.enter = in_flight.enter
        self.leave = in_flight.leave
        self.emptied = in_flight.emptied

    def send(self, outgoing: Outgoing, *, fresh: bool = False) -> Awaitable[Reply]:
        """Sends one request (`headgate.core.ports.Upstream.send`)."""
        body = outgoing.mended or outgoing.body
        return self._pool.send(self._heads.head(outgoing, len(body)), body, fresh=fresh)


class EngineUpstream(RemoteUpstream):
    """An engine of ours: started when it is needed, and again when it has died."""

    def __init__(self, name: str, dialect: Dialect, place: Place, engine: Engine, max_in_flight: int) -> None:
        super().__init__(name, dialect, place, max_in_flight)
        self._engine = engine
        take_place, give_place = self.enter, self.leave

        def enter() -> None:
            take_place()
            engine.began()

        def leave() -> None:
            give_place()
            engine.ended()

        self.enter, self.leave = enter, leave

    async def send(self, outgoing: Outgoing, *, fresh: bool = False) -> Reply:
        """Sends one request, once the engine is ready; raises Overloaded when it does not start."""
        await self._engine.ready()
        try:
            return await super().send(outgoing, fresh=fresh)
        except ConnectFailed:
            # It has died and nobody has noticed yet. Nothing was sent.
            await self._engine.refused()
            await self._engine.ready()
            return await super().send(outgoing, fresh=True)


class Heads:
    """Request heads for one place; all but the length is made once per path."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._beginnings: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return "Heads()"  # what it has made holds the upstream's key

    def head(self, outgoing: Outgoing, body_bytes: int) -> bytes:
        """Everything up to and including the blank line."""
        beginning = self._beginnings.get(outgoing.path + outgoing.content_type) or self._begin(outgoing)
        if outgoing.headers:
            beginning += b"".join([b"%b: %b\r\n" % line for line in outgoing.headers])
        return b"%bcontent-length: %d\r\n\r\n" % (beginning, body_bytes)

    def _begin(self, outgoing: Outgoing) -> bytes:
        place, path = self._place, outgoing.path
        target = place.address.prefix + path
        if place.query:
            target += ("&" if "?" in path else "?") + urlencode(place.query, quote_via=quote)
        lines = [
            b"POST %b HTTP/1.1" % target.encode("ascii"),
            b"host: " + place.address.authority.encode("ascii"),
            b"user-agent: headgate/" + __version__.encode("ascii"),
            b"content-type: " + (outgoing.content_type or "application/json").encode("ascii"),
            # Sound and subtitles are taken as well: what was asked for decides.
            b"accept: application/json, text/event-stream" + (b", */*" if outgoing.content_type else b""),
            # What comes back is read and passed on: packed, it could be neither.
            b"accept-encoding: identity",
            *(b"%b: %b" % line for line in place.headers),
        ]
        # Dialects name a handful of paths; where a model's name is in them and stands for many, many.
        if len(self._beginnings) >= KEPT_PATHS:
            self._beginnings.clear()
        self._beginnings[path + outgoing.content_type] = beginning = b"\r\n".join([*lines, b""])
        return beginning
