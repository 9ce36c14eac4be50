"""A gate with several upstreams for one model, each on a real socket and doing as its script says.

Like `house`, whose client and words it uses, for what happens between upstreams. Nothing is left behind: when
a town closes, every attempt has one outcome, every place is free, and no connection is busy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from headgate.backends.pool import Limits, Pool
from headgate.backends.upstreams import Place, RemoteUpstream
from headgate.core.ports import Closed, Dialect, Opened, Outcome
from headgate.core.settings import Server as ServerSettings
from headgate.core.settings_routing import Health, Routing, Traits
from headgate.dialects.openai import OpenAI
from headgate.edge.route import Route, Routes
from headgate.edge.server import Server
from headgate.endpoints import CHAT_COMPLETIONS
from headgate.gateway.choose import Plan, Target
from headgate.gateway.health import TargetHealth
from headgate.gateway.pipeline import Gate
from headgate.gateway.route import Models
from headgate.gateway.stream import Pace
from headgate.store.journal import FileJournal
from headgate.store.keys import KeyTable, MasterKey
from tests.backends.scripted import Script, Upstream, scripted, until
from tests.gateway.house import KEY, QUIET, SEGMENT_BYTES, Answer, Client
from tests.store.records import outcomes, sound

QUICK = Routing(attempts=4, backoff_ms=1, backoff_max_ms=50, retry_burst=100)
"""Rules under which nobody waits for long."""


class Stead(Traits, frozen=True, kw_only=True):
    """What a test says of one upstream."""

    script: Any = None
    prefill_way: str | None = None
    health: Any = None
    places: Any = None
    limits: dict[str, int] | None = None


class Town:
    """A gate, its upstreams and its journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.upstreams: list[Upstream] = []
        self.pools: list[Pool] = []
        self.targets: list[Target] = []
        self.clients: list[Client] = []
        self.port = 0
        self.plan: Plan
        self.gate: Gate
        self.server: Server
        self.journal: FileJournal

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

    async def went(self, count: int) -> list[tuple[str, Outcome]]:
        """Waits until so many attempts have ended; where each went, and how it ended."""
        await until(lambda: sum(len(closed) for _, closed in self.records()) >= count)
        found = self.records()
        assert len(found) == count, found
        return [(opened.upstream, closed.outcome) for opened, [closed] in found]

    async def judge(self) -> None:
        """What must hold in the end, whatever was done."""
        for client in self.clients:
            client.hang_up()
        await self.server.stop(5.0)
        assert self.journal.open_attempts == 0
        assert all(len(closed) == 1 for _, closed in self.records())
        for target in self.targets:
            assert target.health.in_flight == 0
            assert all((places.taken, places.waiting) == (0, 0) for places in target.places)
        for pool in self.pools:
            assert pool.open == pool.idle, "a connection was left busy"


@asynccontextmanager
async def town(
    folder: Path,
    *scripts: Script | Stead,
    rules: Routing = QUICK,
    health: Health | None = None,
    dialect: Dialect | None = None,
    pace: Pace = QUIET,
    fsync_interval_ms: int = 1000,
) -> AsyncIterator[Town]:
    """A gate for the model `m`, which is at the upstreams `u1`, `u2`, ...; each is a tier of its own."""
    made = Town(folder / "journal")
    async with AsyncExitStack() as stack:
        for number, one in enumerate(scripts, 1):
            place = one if isinstance(one, Stead) else Stead(script=one)
            upstream = await stack.enter_async_context(scripted(place.script))
            pool = Pool(upstream.address, limits=Limits(**(place.limits or {})))
            remote = RemoteUpstream(f"u{number}", dialect or OpenAI(), Place(pool, upstream.address), None)
            traits = {name: getattr(place, name) for name in Traits.__struct_fields__}
            made.upstreams.append(upstream)
            made.pools.append(pool)
            made.targets.append(
                Target(
                    "m",
                    remote,
                    f"m{number}",
                    1_700_000_000,
                    "far",
                    traits=Traits(
                        **{**traits, "priority": number if place.priority == 1 else place.priority}
                    ),
                    health=TargetHealth(health),
                    places=place.places or (),
                    prefill=place.prefill_way,
                )
            )
        keys = KeyTable()
        MasterKey(folder, keys).load(KEY)
        made.journal = FileJournal.start(
            made.folder, fsync_interval_ms=fsync_interval_ms, segment_bytes=SEGMENT_BYTES
        )
        made.plan = Plan(made.targets, rules)
        made.gate = Gate(keys, made.journal, Models({"m": made.plan}), pace)
        handler = made.gate.handler(CHAT_COMPLETIONS)
        route = Route("POST", CHAT_COMPLETIONS.path, handler, CHAT_COMPLETIONS.body_limit_bytes)
        made.server = Server(Routes([route]), ServerSettings())
        _, made.port = await made.server.listen("127.0.0.1", 0)
        try:
            yield made
            await made.judge()
        finally:
            for client in made.clients:
                client.hang_up()
            await made.server.stop(0)
            await asyncio.gather(*(pool.close() for pool in made.pools))
            made.journal.stop()


def told(targets: Sequence[Target], now_s: float) -> list[str]:
    """The breakers' states."""
    return [target.health.snapshot(now_s).breaker for target in targets]
