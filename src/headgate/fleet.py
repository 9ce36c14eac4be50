"""Makes upstreams from settings, remote ones and embedded engines alike; keeps what a reload leaves alone."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial

import msgspec

from headgate.backends.connect import tls_context
from headgate.backends.credentials import KeyedUpstream, Keyring
from headgate.backends.discover import PATHS, watch
from headgate.backends.identity import IdentifiedUpstream, Proof, make_proof
from headgate.backends.pool import Limits, Pool
from headgate.backends.proxy import proxy_for
from headgate.backends.upstreams import EngineUpstream, Place, RemoteUpstream
from headgate.core.address import Address, parse_base_url
from headgate.core.errors import SettingsError
from headgate.core.observer import UpstreamReading
from headgate.core.ports import Dialect, Headers
from headgate.core.settings import Engine as EngineSettings
from headgate.core.settings import Identity, Settings
from headgate.core.settings import Upstream as UpstreamSettings
from headgate.dialects.drawing import Drawing
from headgate.dialects.embedded import Embedded
from headgate.dialects.llamacpp import LlamaCpp
from headgate.dialects.llamacpp_completion import Beginnings
from headgate.dialects.llamacpp_sampling import LARGEST_COUNT
from headgate.dialects.openai import bearer
from headgate.dialects.table import make_dialect
from headgate.engines.gguf import inspect_model
from headgate.engines.supervise import Engine
from headgate.gateway.places import Places
from headgate.gateway.plan import Planner, Source
from headgate.gateway.route import Models

OWN = "headgate"
"""Who owns the models that run on embedded engines, in the list of models."""


class Member(msgspec.Struct, frozen=True):
    """One upstream of the fleet."""

    settings: UpstreamSettings | EngineSettings
    """What it was made from; an upstream's models left out, for they may change without it."""
    upstream: RemoteUpstream
    pool: Pool
    engine: Engine | None = None
    places: Places | None = None
    """How many requests it takes at once, and its queue; None without a bound."""
    keyring: Keyring | None = None
    """Where it has several keys."""
    lists: Place | None = None
    """Where it is asked for its models; None when it is not."""

    async def leave(self) -> None:
        """Ends it when its last request is through."""
        await self.upstream.emptied()
        await self.stop()

    async def stop(self) -> None:
        """Ends its process, and its connections when their replies are through."""
        await self.pool.close()
        if isinstance(self.upstream, IdentifiedUpstream):
            await self.upstream.close()
        if self.engine is not None:
            await self.engine.stop()


class Fleet:
    """All upstreams of the running configuration."""

    def __init__(self) -> None:
        self._members: list[Member] = []
        self._started_s = int(time.time())
        self._leaving: dict[asyncio.Task[None], Member] = {}
        self._planner = Planner()
        self._settings = Settings()
        self._known: dict[str, tuple[str, ...]] = {}
        """What upstreams say they have, by their names."""
        self._watches: dict[str, tuple[object, asyncio.Task[None]]] = {}
        """Who asks them, and for what."""
        self.on_change: Callable[[Models], None] = _nobody_listens
        """Called with a new table when an upstream has other models than before."""

    def arrange(self, settings: Settings) -> Models:
        """The table of models for these settings; what did not change keeps its process and its connections.

        Raises SettingsError before anything has changed.
        """
        members: list[Member] = []
        try:
            members.extend(
                self._member(msgspec.structs.replace(upstream, models=())) for upstream in settings.upstreams
            )
            members.extend(self._member(engine) for engine in settings.engines)
        except SettingsError:
            self._let_go(members, keep=self._members)
            raise
        self._let_go(self._members, keep=members)
        self._members = members
        self._settings = settings
        self._watch()
        return self._models()

    def connections(self) -> list[UpstreamReading]:
        """The connections to every upstream now."""
        return [
            UpstreamReading(member.upstream.name, member.pool.open, member.pool.idle)
            for member in self._members
        ]

    def start_eager(self) -> None:
        """Starts the engines that are not to wait for their first request."""
        for member in self._members:
            if isinstance(member.settings, EngineSettings) and member.settings.eager:
                assert member.engine is not None
                member.engine.start()

    async def stop(self) -> None:
        """Closes every connection and stops every engine, whoever still uses them."""
        leaving = dict(self._leaving)
        for task in (*leaving, *(task for _, task in self._watches.values())):
            task.cancel()
        await asyncio.gather(*(member.stop() for member in (*self._members, *leaving.values())))

    def _models(self) -> Models:
        """The table of models, as far as upstreams have said what they have."""
        sources = {
            member.upstream.name: Source(
                upstream=member.upstream,
                owner=OWN if member.engine is not None else member.upstream.name,
                created_s=self._started_s,
                places=member.places,
                queue_timeout_ms=getattr(member.settings, "queue_timeout_ms", 5_000),
                keyring=member.keyring,
                prefill=_prefill(member.settings),
                models=self._known.get(member.upstream.name),
            )
            for member in self._members
        }
        return self._planner.models(self._settings, sources)

    def _watch(self) -> None:
        """Asks the upstreams for their models that want to be asked, and no others."""
        wanted = {member.upstream.name: member for member in self._members if member.lists is not None}
        for name, (asked, task) in [*self._watches.items()]:
            if name not in wanted or wanted[name].lists is not asked:
                task.cancel()
                del self._watches[name]
                self._known.pop(name, None)
        for name, member in wanted.items():
            if name not in self._watches:
                assert isinstance(member.settings, UpstreamSettings)
                assert member.lists is not None
                watching = watch(
                    name,
                    member.lists,
                    PATHS[member.settings.dialect],
                    member.settings.discover_interval_ms,
                    partial(self._found, name),
                )
                self._watches[name] = (member.lists, asyncio.get_running_loop().create_task(watching))

    def _found(self, name: str, models: tuple[str, ...]) -> None:
        self._known[name] = models
        self.on_change(self._models())

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
        return make_remote(settings) if isinstance(settings, UpstreamSettings) else _embedded(settings)


def make_remote(settings: UpstreamSettings) -> Member:
    """An upstream that is somewhere else, with nobody using it yet."""
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
    keys = settings.api_keys or ((settings.api_key,) if settings.api_key is not None else ())
    speak = bearer if settings.bearer else dialect.credentials
    credentials = [speak(key.reveal()) for key in keys]
    query = [(name, value.reveal()) for name, value in settings.query.items()]
    bound = settings.max_in_flight
    each = [Place(pool, address, [*one, *headers], query) for one in credentials or [()]]
    keyring, upstream = None, RemoteUpstream(settings.name, dialect, each[0], bound)
    if settings.identity is not None:
        proof = _proof(settings.name, settings.identity, each[0])
        upstream = IdentifiedUpstream(settings.name, dialect, each[0], bound, proof)
    elif len(each) > 1:
        upstream = keyed = KeyedUpstream(settings.name, dialect, each, bound)
        keyring = keyed.keyring
    places = Places(bound, settings.queue, settings.queue_timeout_ms) if bound is not None else None
    return Member(
        settings, upstream, pool, places=places, keyring=keyring, lists=each[0] if settings.discover else None
    )


def _prefill(settings: UpstreamSettings | EngineSettings) -> str | None:
    """How an upstream is asked to go on with an answer that was begun, as far as its settings tell."""
    if isinstance(settings, EngineSettings):
        return "continue_final_message" if settings.kind == "llamacpp" else None
    return "continue_final_message" if settings.dialect == "llamacpp" else settings.quirks.prefill


def _nobody_listens(_: Models) -> None:
    """A change that nobody wants to know of."""


def _dialect(settings: UpstreamSettings, headers: Headers) -> Dialect:
    try:
        if settings.discover and settings.dialect not in PATHS:
            raise SettingsError(f'`discover` means nothing to the dialect "{settings.dialect}"')
        if settings.discover and settings.identity is not None:
            raise SettingsError("`discover` asks with a key, not with an `identity`")
        return make_dialect(
            settings.dialect,
            headers=headers,
            drop_unsupported=settings.unsupported == "drop",
            quirks=settings.quirks,
            api_version=settings.api_version,
            identity=settings.identity.kind if settings.identity is not None else None,
        )
    except SettingsError as error:
        raise SettingsError(f'upstream "{settings.name}": {error}') from None


def _proof(name: str, identity: Identity, place: Place) -> Proof:
    try:
        return make_proof(name, identity, place)
    except SettingsError as error:
        raise SettingsError(f'upstream "{name}": {error}') from None


def _embedded(settings: EngineSettings) -> Member:
    dialect = _spoken_by(settings)
    engine = Engine(settings)
    address = Address(socket_path=engine.address.socket_path, prefix="/v1")
    pool = Pool(address)
    place = Place(pool, address, engine.address.headers)
    upstream = EngineUpstream(settings.name, dialect, place, engine, settings.slots + settings.queue)
    return Member(settings, upstream, pool, engine, Places(settings.slots + settings.queue))


_SKILLS = {
    "embed": ("embeddings",),
    "speech": ("speech",),
    "transcribe": ("transcription", "translation"),
}
"""What engines that speak OpenAI's own format can do, in the words of the endpoint table."""


def _spoken_by(settings: EngineSettings) -> Dialect:
    if settings.kind == "image":
        return Drawing()
    if settings.kind != "llamacpp":
        return Embedded(_SKILLS[settings.kind])
    assert settings.model is not None  # the settings were checked
    model = inspect_model(settings.model)
    return LlamaCpp(
        images=settings.mmproj is not None,
        tools_in_template=model.template_knows_tools,
        beginnings=Beginnings(model.first_token, model.gap_tokens),
        vector_length=(model.width or LARGEST_COUNT) if settings.embeddings else None,
    )
