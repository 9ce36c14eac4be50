"""One connection to Redis or Valkey: the commands of a turn of the loop leave in one write.

When it breaks, everything that waits fails at once, and it is made anew in the background. Must not know what
the commands mean.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast
from urllib.parse import unquote, urlsplit

import msgspec

from headgate.core.errors import HeadgateError, SettingsError
from headgate.core.resp import ErrorReply, Reply, ReplyParser, RespError, arguments, command

_log = logging.getLogger(__name__)

DEFAULT_PORT = 6379
FIRST_RETRY_S = 0.05
LAST_RETRY_S = 2.0
"""A Redis that was restarted is found again before anybody has read the alert."""


class RedisAway(HeadgateError):
    """There is no connection, or it broke before the answer came: whether the command ran is not known."""


class RedisPlace(msgspec.Struct, frozen=True):
    """Where a Redis is, and as whom to enter."""

    host: str = ""
    port: int = DEFAULT_PORT
    socket_path: str = ""
    tls: bool = False
    username: str = ""
    password: str = ""
    database: int = 0

    def __repr__(self) -> str:
        return f"RedisPlace({self.socket_path or f'{self.host}:{self.port}'})"


def parse_url(url: str) -> RedisPlace:
    """`redis[s]://[user:password@]host[:port][/database]` or `unix:///path`; errors never quote it."""
    try:
        parts = urlsplit(url)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if parts.scheme == "unix" and parts.path:
            return RedisPlace(socket_path=parts.path, username=user, password=password)
        database = int(parts.path.strip("/") or 0)
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise SettingsError("the URL of Redis has a port or a database that is no number") from None
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise SettingsError("the URL of Redis is not redis://HOST, rediss://HOST or unix:///PATH")
    return RedisPlace(
        parts.hostname,
        port,
        tls=parts.scheme == "rediss",
        username=user,
        password=password,
        database=database,
    )


class Redis:
    """A connection that keeps itself; `call` from the loop's thread only."""

    def __init__(
        self, place: RedisPlace, *, timeout_ms: int, scripts: list[bytes], on_open: Callable[[], None]
    ) -> None:
        """`scripts` are loaded into every new connection's server; `on_open` runs before other commands."""
        self.connected = False
        self._place = place
        self._timeout_s = timeout_ms / 1000
        self._scripts = scripts
        self._on_open = on_open
        self._wire: _Wire | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._tls = ssl.create_default_context() if place.tls else None

    async def start(self) -> None:
        """Connects; raises RedisAway if that does not work now. From here on it connects anew by itself."""
        try:
            await self._connect()
        finally:
            self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Closes the connection for good."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._drop()

    def call(self, encoded: bytes) -> asyncio.Future[Reply]:
        """Sends one command; its future has the answer, an ErrorReply among them, or raises RedisAway."""
        wire = self._wire
        if wire is None or not self.connected:
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            future.set_exception(RedisAway("no connection"))
            return future
        return wire.call(encoded)

    def reset(self) -> None:
        """Gives the connection up, for another one: the server has forgotten our scripts."""
        if self._wire is not None:
            self._wire.abort()

    async def _keep(self) -> None:
        pause_s = FIRST_RETRY_S
        while True:
            if self._wire is not None:
                await self._wire.ended(self._timeout_s)
                self._drop()
                _log.warning("lost the connection to Redis at %r", self._place)
            try:
                await self._connect()
                pause_s = FIRST_RETRY_S
                _log.info("connected to Redis at %r again", self._place)
            except RedisAway:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LAST_RETRY_S)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        place = self._place
        wire: _Wire | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                if place.socket_path:
                    _, wire = await loop.create_unix_connection(_Wire, place.socket_path)
                else:
                    _, wire = await loop.create_connection(_Wire, place.host, place.port, ssl=self._tls)
                answers = [wire.call(one) for one in self._greeting()]
                for reply in await asyncio.gather(*answers):
                    if isinstance(reply, ErrorReply):
                        # Its words may quote what was sent: only the first is a code of Redis's own.
                        raise RedisAway(f"Redis refused us: {reply.split(' ')[0]}")
        except (OSError, TimeoutError, RedisAway) as error:
            if wire is not None:
                wire.abort()
            raise RedisAway(f"cannot reach Redis at {place!r}: {str(error) or 'no answer'}") from None
        self._wire = wire
        self.connected = True
        self._on_open()

    def _greeting(self) -> list[bytes]:
        place = self._place
        words: list[list[bytes]] = []
        if place.password:
            user = [place.username.encode()] if place.username else []
            words.append([b"AUTH", *user, place.password.encode()])
        if place.database:
            words.append([b"SELECT", b"%d" % place.database])
        words += [[b"SCRIPT", b"LOAD", script] for script in self._scripts]
        words.append([b"PING"])
        return [command(len(line), arguments(line)) for line in words]

    def _drop(self) -> None:
        self.connected = False
        if self._wire is not None:
            self._wire.abort()
            self._wire = None


class _Wire(asyncio.Protocol):
    """One connection's life."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = ReplyParser()
        self._waiting: deque[asyncio.Future[Reply]] = deque()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._end = self._loop.create_future()
        self._answered = 0
        """Answers so far: whether one came is seen by it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        waiting, self._waiting = self._waiting, deque()
        for future in waiting:
            if not future.done():
                future.set_exception(RedisAway("the connection broke"))
        if not self._end.done():
            self._end.set_result(None)

    def data_received(self, data: bytes) -> None:
        try:
            replies = self._parser.feed(data)
        except RespError:
            self.abort()
            return
        for reply in replies:
            if not self._waiting:
                self.abort()
                return
            self._answered += 1
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(reply)

    def call(self, encoded: bytes) -> asyncio.Future[Reply]:
        """Queues a command; all that are queued leave together when this turn of the loop is over."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        if self._transport is None:
            future.set_exception(RedisAway("the connection broke"))
            return future
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(encoded)
        self._waiting.append(future)
        return future

    async def ended(self, timeout_s: float) -> None:
        """Returns when the connection is over, or has not answered anything for so long."""
        while True:
            waited, answered = bool(self._waiting), self._answered
            done, _ = await asyncio.wait([self._end], timeout=timeout_s)
            if done:
                return
            if waited and self._answered == answered:
                self.abort()
                return

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None:
            self._transport.write(b"".join(out))
