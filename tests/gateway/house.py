"""A whole gate in the test's own loop: edge, pipeline, pool, journal on real sockets; a scripted upstream.

What must hold whatever a test does is judged when its house closes: one outcome for each attempt, no place
taken, no connection left busy, and nothing said to any client of the upstream's key or place.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h11

from headgate.backends.pool import Limits, Pool
from headgate.backends.upstreams import Place, RemoteUpstream
from headgate.core.ports import Closed, Dialect, Opened
from headgate.core.settings import Server as ServerSettings
from headgate.core.settings_routing import Routing
from headgate.dialects.openai import OpenAI
from headgate.edge.route import Route, Routes
from headgate.edge.server import Server
from headgate.endpoints import CHAT_COMPLETIONS, ENDPOINTS, MODELS_LIST, MODELS_RETRIEVE
from headgate.gateway.choose import Plan, Target
from headgate.gateway.health import TargetHealth
from headgate.gateway.list import list_models, retrieve_model
from headgate.gateway.pipeline import Gate
from headgate.gateway.route import Models
from headgate.gateway.stream import Pace
from headgate.store.journal import FileJournal
from headgate.store.keys import KeyTable, MasterKey
from tests.backends.scripted import Line, Script, scripted, until
from tests.backends.scripted import Upstream as Scripted
from tests.store.records import outcomes, sound

KEY = "sk-of-the-operator-0123456789"
UPSTREAM_KEY = "sk-of-the-upstream-9876543210"
QUERY_SECRET = "query-secret-24680"
QUIET = Pace(first_comment_ms=60_000, comment_ms=60_000)
"""No comments while a test lasts."""
STEP_MS = 20
"""How often streams are ticked in these tests."""
BRISK = Pace(first_comment_ms=3 * STEP_MS, comment_ms=3 * STEP_MS)
COMMENT = b": waiting\n\n"

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
SEGMENT_BYTES = 256 * 1024
"""Small, for it is made anew for every test."""


def chunk(data: bytes) -> bytes:
    """One piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole(body: bytes, status: str = "200 OK", *lines: str) -> bytes:
    """A complete reply with a length."""
    head = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def event(**members: Any) -> bytes:
    """One event of a stream."""
    return b"data: " + json.dumps(members).encode() + b"\n\n"


def said(text: str, **more: Any) -> bytes:
    """An event with words of the model's."""
    return event(id="chatcmpl-1", choices=[{"index": 0, "delta": {"content": text}, **more}])


def finished(reason: str = "stop", index: int = 0) -> bytes:
    """The event that ends a choice."""
    return event(id="chatcmpl-1", choices=[{"index": index, "delta": {}, "finish_reason": reason}])


ROLE = event(id="chatcmpl-1", choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])
"""The event that begins a stream."""


def usage(prompt: int, completion: int) -> bytes:
    """The event that reports usage."""
    return event(
        id="chatcmpl-1", choices=[], usage={"prompt_tokens": prompt, "completion_tokens": completion}
    )


def answer(text: str = "Hello", prompt: int = 5, completion: int = 1) -> bytes:
    """A whole reply's body."""
    used = {"prompt_tokens": prompt, "completion_tokens": completion}
    message = {"role": "assistant", "content": text}
    return json.dumps({"id": "1", "choices": [{"index": 0, "message": message}], "usage": used}).encode()


def sending(*pieces: bytes) -> Script:
    """A script that answers every request with these bytes."""

    async def script(line: Line) -> None:
        while True:
            await line.request()
            await line.send(*pieces)

    return script


def errors_in(body: bytes) -> list[dict[str, Any]]:
    """The error events of a stream's body."""
    events = [one.removeprefix(b"data: ") for one in body.split(b"\n\n") if one.startswith(b'data: {"error"')]
    return [json.loads(one)["error"] for one in events]


class Answer:
    """A reply as a client sees it, whole."""

    def __init__(self, head: h11.Response, body: bytes) -> None:
        self.status = head.status_code
        self.headers = {name.decode(): value.decode() for name, value in head.headers}
        self.body = body

    @property
    def error(self) -> dict[str, Any]:
        """What stands under `error`, with all of its four keys."""
        found = json.loads(self.body)
        assert list(found) == ["error"]
        assert set(found["error"]) == {"message", "type", "param", "code"}
        assert self.headers["content-type"] == "application/json"
        return dict(found["error"])


class Client:
    """One keep-alive connection, read by a parser that forgives nothing."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep: bool = True
    ) -> None:
        """`keep`: everything that is received, for a later look."""
        self._keep = keep
        self._reader = reader
        self._writer = writer
        self._parser = h11.Connection(h11.CLIENT)
        self.received = bytearray()

    async def ask(
        self,
        stream: bool = False,
        *,
        key: str | None = KEY,
        body: bytes | None = None,
        method: str = "POST",
        path: str = CHAT_COMPLETIONS.path,
        headers: Sequence[tuple[str, str]] = (),
        **fields: Any,
    ) -> None:
        """Sends a request."""
        if body is None and method == "POST":
            asked = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
            body = json.dumps(asked | fields).encode()
        lines = [("host", "gate"), ("accept", "application/json"), *headers]
        lines += [("authorization", f"Bearer {key}")] if key is not None else []
        lines += [("content-length", str(len(body)))] if body is not None else []
        if self._parser.our_state is h11.DONE:
            self._parser.start_next_cycle()
        sent = self._parser.send(h11.Request(method=method, target=path, headers=lines)) or b""
        sent += (self._parser.send(h11.Data(data=body)) or b"") if body else b""
        sent += self._parser.send(h11.EndOfMessage()) or b""
        self._writer.write(sent)
        await self._writer.drain()

    async def head(self) -> h11.Response:
        """The reply's head."""
        found = await self._next()
        assert isinstance(found, h11.Response), found
        return found

    async def piece(self) -> bytes | None:
        """The next piece of the body; None at its end."""
        found = await self._next()
        if isinstance(found, h11.EndOfMessage):
            return None
        assert isinstance(found, h11.Data), found
        return bytes(found.data)

    async def until(self, text: bytes) -> bytes:
        """The body up to a point: reads until it ends so."""
        body = bytearray()
        while not body.endswith(text):
            piece = await self.piece()
            assert piece is not None, f"ended before {text!r}: {body!r}"
            body += piece
        return bytes(body)

    async def rest(self) -> bytes:
        """What is left of the body."""
        body = bytearray()
        while (piece := await self.piece()) is not None:
            body += piece
        return bytes(body)

    async def answer(self) -> Answer:
        """The whole reply."""
        head = await self.head()
        return Answer(head, await self.rest())

    def hang_up(self) -> None:
        """Closes the connection."""
        self._writer.close()

    def abort(self) -> None:
        """Resets the connection."""
        self._writer.transport.abort()

    def half_close(self) -> None:
        """Says that nothing more will be sent."""
        self._writer.write_eof()

    async def closed(self) -> None:
        """Waits until the gate has closed it; what still comes is kept in `received`."""
        while data := await self._reader.read(65_536):
            self.received += data

    async def _next(self) -> Any:
        while True:
            found = self._parser.next_event()
            if found is not h11.NEED_DATA:
                return found
            data = await self._reader.read(65_536)
            if self._keep:
                self.received += data
            self._parser.receive_data(data)


async def as_it_is(url: str, field: str, detail: str | None) -> str:
    """Brings a picture that is there already."""
    return url


class Unmoved(TargetHealth):
    """The health of a target that is always well, so that every request reaches it."""

    def failed(self, now_s: float, probe: bool) -> None:
        pass

    def rest(self, now_s: float, rest_ms: int) -> None:
        pass


class House:
    """A gate, its upstream and its journal."""

    def __init__(self, folder: Path, upstream: Scripted, pool: Pool, remote: RemoteUpstream) -> None:
        self.folder = folder
        self.upstream = upstream
        self.pool = pool
        self.in_flight = 0
        self._count(remote)
        self.port = 0
        self.gate: Gate
        self.server: Server
        self.journal: FileJournal
        self.clients: list[Client] = []

    def _count(self, remote: RemoteUpstream) -> None:
        enter, leave = remote.enter, remote.leave

        def entering() -> None:
            enter()
            self.in_flight += 1

        def leaving() -> None:
            leave()
            self.in_flight -= 1

        remote.enter, remote.leave = entering, leaving

    async def client(self) -> Client:
        """A new connection."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def call(self, stream: bool = False, **options: Any) -> Answer:
        """One request on a connection of its own."""
        client = await self.client()
        await client.ask(stream, **options)
        return await client.answer()

    def records(self) -> list[tuple[Opened, list[Closed]]]:
        """The attempts so far, in order, with their outcomes."""
        records = sound(self.folder)
        closed = outcomes(records)
        return [(record, closed[record.attempt]) for record in records if isinstance(record, Opened)]

    async def settled(self, count: int = 1) -> list[Closed]:
        """Waits until so many attempts have ended; their outcomes in the order of the attempts."""
        await until(lambda: sum(len(closed) for _, closed in self.records()) >= count)
        ends = [closed for _, closed in self.records()]
        assert [len(closed) for closed in ends] == [1] * count
        return [closed[0] for closed in ends]

    async def judge(self) -> None:
        """What must hold in the end, whatever was done."""
        for client in self.clients:
            client.hang_up()
        await self.server.stop(5.0)
        assert self.journal.open_attempts == 0
        assert all(len(closed) == 1 for _, closed in self.records())
        assert self.in_flight == 0
        assert self.pool.open == self.pool.idle, "a connection was left busy"
        secrets = (UPSTREAM_KEY, QUERY_SECRET, f":{self.upstream.port}", "Traceback")
        for client in self.clients:
            for secret in secrets:
                assert secret.encode() not in client.received


@asynccontextmanager
async def house(
    folder: Path,
    script: Script,
    *,
    dialect: Dialect | None = None,
    pace: Pace = QUIET,
    max_in_flight: int | None = None,
    rules: Routing | None = None,
    health: TargetHealth | None = None,
    fsync_interval_ms: int = 1000,
    **limits: int,
) -> AsyncIterator[House]:
    """A gate for the model `m`, called `m-upstream` there, and its alias `alias/of m`.

    Nothing is tried again unless `rules` say so, and nothing rests but by its own `health`.
    """
    async with scripted(script) as upstream:
        pool = Pool(upstream.address, limits=Limits(**limits))
        headers = [(b"authorization", b"Bearer " + UPSTREAM_KEY.encode())]
        place = Place(pool, upstream.address, headers, [("api", QUERY_SECRET)])
        remote = RemoteUpstream("far", dialect or OpenAI(), place, max_in_flight)
        keys = KeyTable()
        MasterKey(folder, keys).load(KEY)
        made = House(folder / "journal", upstream, pool, remote)
        made.journal = FileJournal.start(
            made.folder, fsync_interval_ms=fsync_interval_ms, segment_bytes=SEGMENT_BYTES
        )
        target = Target("m", remote, "m-upstream", 1_700_000_000, "far", health=health or Unmoved())
        plan = Plan([target], rules or Routing(attempts=1))
        made.gate = gate = Gate(keys, made.journal, Models({"m": plan, "alias/of m": plan}), pace)
        gate.bring = as_it_is
        routes = [
            *(
                Route("POST", row.path, gate.handler(row), row.body_limit_bytes)
                for row in ENDPOINTS
                if row.method == "POST"
            ),
            Route("GET", MODELS_LIST.path, partial(list_models, gate)),
            Route("GET", MODELS_RETRIEVE.path, partial(retrieve_model, gate)),
        ]
        made.server = Server(Routes(routes), ServerSettings())
        _, made.port = await made.server.listen("127.0.0.1", 0)
        try:
            yield made
            await made.judge()
        finally:
            for client in made.clients:
                client.hang_up()
            await made.server.stop(0)
            await pool.close()
            made.journal.stop()
