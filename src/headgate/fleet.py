"""Makes upstreams from settings, remote ones and embedded engines alike; keeps what a reload leaves alone."""

from __future__ import annotations

import asyncio
import os
import time

import msgspec

from headgate.backends.connect import tls_context
from headgate.backends.pool import Limits, Pool
from headgate.backends.proxy import proxy_for
from headgate.backends.upstreams import EngineUpstream, Place, RemoteUpstream
from headgate.core.address import Address, parse_base_url
from headgate.core.errors import SettingsError
from headgate.core.ports import Dialect, Headers
from headgate.core.settings import Engine as EngineSettings
from headgate.core.settings import Settings
from headgate.core.settings import Upstream as UpstreamSettings
from headgate.dialects.embedded import Embedded
from headgate.dialects.llamacpp import LlamaCpp
from headgate.dialects.llamacpp_completion import Beginnings
from headgate.dialects.openai import bearer
from headgate.dialects.table import make_dialect
from headgate.engines.gguf import inspect_model
from headgate.engines.supervise import Engine
from headgate.gateway.route import Models, Target

OWN = "headgate"
"""Who owns the models that run on embedded engines, in the list of models."""


class Member(msgspec.Struct, frozen=True):
    """One upstream of the fleet."""

    settings: UpstreamSettings | EngineSettings
    """What it was made from; an upstream's models left out, for they may change without it."""
    upstream: RemoteUpstream
    pool: Pool
    engine: Engine | None = None

    async def leave(self) -> None:
        """Ends it when its last request is through."""
        await self.upstream.emptied()
        await self.stop()

    async def stop(self) -> None:
        """Ends its process, and its connections when their replies are through."""
        await self.pool.close()
        if self.engine is not None:
            await self.engine.stop()


class Fleet:
    """All upstreams of the running configuration."""

    def __init__(self) -> None:
        self._members: list[Member] = []
        self._started_s = int(time.time())
        self._leaving: dict[asyncio.Task[None], Member] = {}

    def arrange(self, settings: Settings) -> Models:
        """The table of models for these settings; what did not change keeps its process and its connections.

        Raises SettingsError before anything has changed.
        """
        members: list[Member] = []
        try:
            targets = self._targets(settings, members)
        except SettingsError:
            self._let_go(members, keep=self._members)
            raise
        self._let_go(self._members, keep=members)
        self._members = members
        return Models(targets)

    def start_eager(self) -> None:
        """Starts the engines that are not to wait for their first request."""
        for member in self._members:
            if isinstance(member.settings, EngineSettings) and member.settings.eager:
                assert member.engine is not None
                member.engine.start()

    async def stop(self) -> None:
        """Closes every connection and stops every engine, whoever still uses them."""
        leaving = dict(self._leaving)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*(member.stop() for member in (*self._members, *leaving.values())))

    def _targets(self, settings: Settings, members: list[Member]) -> dict[str, Target]:
        """Every name that clients may use; the members that serve them are added to `members`."""
        targets: dict[str, Target] = {}
        for wanted in settings.upstreams:
            member = self._member(msgspec.structs.replace(wanted, models=()))
            members.append(member)
            for model in wanted.models:
                targets[model.name] = Target(
                    model.name, member.upstream, model.sent_as, self._started_s, wanted.name
                )
        for engine in settings.engines:
            member = self._member(engine)
            members.append(member)
            targets[engine.name] = Target(engine.name, member.upstream, engine.name, self._started_s, OWN)
        for alias, name in settings.aliases.items():
            targets[alias] = targets[name]
        return targets

    def _let_go(self, members: list[Member], *, keep: list[Member]) -> None:
        for member in members:
            if member not in keep:
                task = asyncio.get_running_loop().create_task(member.leave())
                self._leaving[task] = member
                task.add_done_callback(self._leaving.pop)

    def _member(self, settings: UpstreamSettings | EngineSettings) -> Member:
        for member in self._members:
            if member.settings == settings:
                return member
        return _remote(settings) if isinstance(settings, UpstreamSettings) else _embedded(settings)


def _remote(settings: UpstreamSettings) -> Member:
    address = parse_base_url(settings.base_url)
    limits = Limits(
        connect_timeout_ms=settings.connect_timeout_ms,
        first_byte_timeout_ms=settings.first_byte_timeout_ms,
        idle_timeout_ms=settings.idle_timeout_ms,
    )
    tls = tls_context(settings.ca_file or "") if address.tls else None
    pool = Pool(address, limits=limits, proxy=proxy_for(address, os.environ), tls=tls)
    headers = [(name.lower().encode(), value.reveal().encode()) for name, value in settings.headers.items()]
    dialect = _dialect(settings, headers)
    if settings.api_key is not None:
        key = settings.api_key.reveal()
        headers[:0] = bearer(key) if settings.bearer else dialect.credentials(key)
    query = [(name, value.reveal()) for name, value in settings.query.items()]
    upstream = RemoteUpstream(
        settings.name,
        dialect,
        Place(pool, address, headers, query),
        settings.max_in_flight,
    )
    return Member(settings, upstream, pool)


def _dialect(settings: UpstreamSettings, headers: Headers) -> Dialect:
    try:
        return make_dialect(
            settings.dialect,
            headers=headers,
            drop_unsupported=settings.unsupported == "drop",
            quirks=settings.quirks,
            api_version=settings.api_version,
        )
    except SettingsError as error:
        raise SettingsError(f'upstream "{settings.name}": {error}') from None


def _embedded(settings: EngineSettings) -> Member:
    dialect = _spoken_by(settings)
    engine = Engine(settings)
    address = Address(socket_path=engine.address.socket_path, prefix="/v1")
    pool = Pool(address)
    place = Place(pool, address, engine.address.headers)
    upstream = EngineUpstream(settings.name, dialect, place, engine, settings.slots + settings.queue)
    return Member(settings, upstream, pool, engine)


_SKILLS = {"embed": ("embeddings",), "speech": ("speech",), "transcribe": ("transcription", "translation")}
"""What engines that speak OpenAI's own format can do, in the words of the endpoint table."""


def _spoken_by(settings: EngineSettings) -> Dialect:
    if settings.kind != "llamacpp":
        return Embedded(_SKILLS[settings.kind])
    assert settings.model is not None  # the settings were checked
    model = inspect_model(settings.model)
    return LlamaCpp(
        images=settings.mmproj is not None,
        tools_in_template=model.template_knows_tools,
        beginnings=Beginnings(model.first_token, model.gap_tokens),
    )
