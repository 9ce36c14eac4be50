"""The composition root: the only place that knows every package. It joins them and runs the server."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from headgate.admin.condition import Condition
from headgate.admin.deferred import BODY_LIMIT_BYTES as API_BODY_LIMIT_BYTES
from headgate.admin.deferred import METHODS as API_METHODS
from headgate.admin.deferred import PATH as API
from headgate.admin.deferred import Deferred
from headgate.admin.health import Health
from headgate.admin.office import Office
from headgate.admin.shown import shown
from headgate.backends.providers import trace_name
from headgate.core.errors import HeadgateError, SettingsError, StoreError
from headgate.core.observer import Reading, TargetReading
from headgate.core.settings import Server as ServerSettings
from headgate.core.settings import Settings
from headgate.desk import Desk
from headgate.edge import asgi
from headgate.edge.asgi import bridge
from headgate.edge.route import Route, Routes
from headgate.edge.server import Server
from headgate.endpoints import ENDPOINTS, MODELS_LIST, MODELS_RETRIEVE
from headgate.fleet import Fleet
from headgate.gallery import Gallery
from headgate.gateway.list import list_models, retrieve_model
from headgate.gateway.pipeline import Gate
from headgate.gateway.route import Models
from headgate.gateway.stream import Pace
from headgate.media.host import PATH as LINKS
from headgate.store.books import Books
from headgate.store.folder import DataFolder
from headgate.store.journal import FileJournal
from headgate.store.keys import KeyTable, MasterKey
from headgate.telemetry.log import configure as configure_log
from headgate.telemetry.metrics import Collector
from headgate.telemetry.observer import Telemetry
from headgate.telemetry.page import MetricsPage
from headgate.telemetry.traces import check_traces

log = logging.getLogger("headgate")

KEY_REFRESH_S = 1.0
"""How soon a key that was rotated from the shell stops working here: one stat a second."""


COLLECT_AFTER_OBJECTS = 50_000
"""New objects between two looks for garbage: about a thousand requests under way, and a few megabytes."""


class ListenFailed(HeadgateError):
    """The address cannot be listened on."""


class Announcement(msgspec.Struct, frozen=True):
    """What the operator is told when the server listens."""

    port: int
    """The port really bound."""
    new_master_key: str | None
    """The operator's key in clear, only when it was made just now: it is not kept."""


def serve(
    settings: Settings,
    data_folder: Path,
    master_key: str | None,
    *,
    database_url: str | None = None,
    announce: Callable[[Announcement], None],
    reload: Callable[[], Settings],
) -> None:
    """Runs the gate until SIGTERM or SIGINT; raises HeadgateError when it cannot start."""
    with DataFolder.open(data_folder) as folder:
        journal = FileJournal.start(
            folder.path / "journal",
            fsync_interval_ms=settings.journal.fsync_interval_ms,
            keep_bytes=settings.journal.keep_bytes,
            carried=True,
        )
        try:
            _report(journal)
            keys = KeyTable()
            master = MasterKey(folder.path, keys)
            gallery = Gallery(settings.media, folder.path)
            books = Books.open(folder.path, database_url, keys, settings.ledger)

            def listening(port: int) -> None:
                # Only now: a key made by a start that fails would never be shown.
                announce(Announcement(port, master.load(master_key)))

            try:
                application = Application(settings, keys, master, journal, books, gallery, reload)
                _spare_the_collector()
                uvloop.run(application.run(listening))
            finally:
                books.close()
        finally:
            journal.stop()


class Application:
    """One running gate."""

    def __init__(
        self,
        settings: Settings,
        keys: KeyTable,
        master: MasterKey,
        journal: FileJournal,
        books: Books,
        gallery: Gallery,
        reload: Callable[[], Settings],
    ) -> None:
        self._books = books
        self._gallery = gallery
        self._settings = settings
        self._keys = keys
        self._master = master
        self._journal = journal
        self._reload = reload
        self._stopping = False

    async def run(self, listening: Callable[[int], None]) -> None:
        """Serves until a signal says stop."""
        settings = self._settings
        self._telemetry = Telemetry(settings.log, settings.telemetry, _trace_names(settings))
        self._fleet = Fleet()
        self._desk = Desk(settings, self._books)
        try:
            await self._books.start(self._journal.carried_below)
            await self._desk.start()
            await self._serve(settings, listening)
        finally:
            await self._fleet.stop()
            await self._desk.stop()
            await self._gallery.stop()
            await self._books.stop()
            self._telemetry.stop()

    async def _serve(self, settings: Settings, listening: Callable[[int], None]) -> None:
        self._gate = Gate(self._keys, self._journal, self._fleet.arrange(settings), _pace(settings.server))
        self._gate.reserve = self._desk.reserve
        self._fleet.on_change = self._take_models
        self._gate.observer = self._telemetry
        self._gate.host, self._gate.bring = self._gallery.host, self._gallery.bring
        self._server = Server(Routes(self._routes()), settings.server)
        self._server.observer = self._telemetry
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reconfigure)
        _, port = await self._listen(settings.server)
        self._gallery.start(base_url(settings.server, port))
        refresher = asyncio.create_task(self._refresh_keys())
        try:
            listening(port)
            self._fleet.start_eager()
            await stop.wait()
        finally:
            self._stopping = True
            refresher.cancel()
            await self._server.stop(self._settings.server.grace_ms / 1000)

    def _routes(self) -> list[Route]:
        """One route for each row of the endpoint table, and the ones that are not OpenAI's."""
        own = {
            MODELS_LIST.name: partial(list_models, self._gate),
            MODELS_RETRIEVE.name: partial(retrieve_model, self._gate),
        }
        health = bridge(Health(self._unready))
        links = bridge(self._gallery.links)
        books = self._books
        office = Office(books.database, self._keys, books.calendar, books.watch.look)

        def make() -> asgi.Application:
            from headgate.admin.api import make_api

            return cast(asgi.Application, make_api(office, lambda: shown(self._settings)))

        api = bridge(Deferred(make))
        collector = Collector(self._telemetry.counters, self._read)
        self._metrics = MetricsPage(collector, self._keys, public=self._settings.metrics.public)
        return [
            *(
                Route(
                    row.method, row.path, own.get(row.name) or self._gate.handler(row), row.body_limit_bytes
                )
                for row in ENDPOINTS
            ),
            Route("GET", f"{LINKS}*", links),
            Route("HEAD", f"{LINKS}*", links),
            Route("GET", "/healthz", health),
            Route("GET", "/readyz", health),
            Route("GET", "/metrics", bridge(self._metrics)),
            Route("GET", "/admin/v1/health", bridge(Condition(self._read, self._keys))),
            Route("GET", "/v1/usage", api),
            *(Route(method, f"{API}/*", api, API_BODY_LIMIT_BYTES) for method in API_METHODS),
        ]

    async def _listen(self, settings: ServerSettings) -> tuple[str, int]:
        try:
            return await self._server.listen(settings.host, settings.port, tls_context(settings))
        except OSError as error:
            # uvloop's own text repeats the address; a name that is not known has a number of the resolver's.
            known = error.errno is not None and error.errno in errno.errorcode
            reason = os.strerror(error.errno or 0) if known else "the name is not known"
            raise ListenFailed(f"cannot listen on {settings.host}:{settings.port}: {reason}") from None

    def _unready(self) -> str | None:
        if self._stopping:
            return "stopping"
        return None

    def _read(self) -> Reading:
        """How the gate is doing now, for the metrics."""
        journal = self._journal
        return Reading(
            connections=len(self._server.connections),
            journal_open=journal.open_attempts,
            journal_works=journal.writable,
            journal_damage=len(journal.damage),
            upstreams=self._fleet.connections(),
            targets=[
                TargetReading(
                    one.model,
                    one.upstream,
                    one.upstream_model,
                    one.health.breaker,
                    one.health.resting_ms,
                    one.health.in_flight,
                    one.places,
                    one.waiting,
                    one.health.requests,
                    one.health.failures,
                    one.health.first_byte_ms,
                )
                for one in self._gate.models.statuses(asyncio.get_running_loop().time())
                if one.model in self._gate.models.plans
            ],
        )

    def _take_models(self, models: Models) -> None:
        """An upstream has other models than before."""
        self._gate.models = models

    def _reconfigure(self) -> None:
        """SIGHUP: takes the configuration anew; streams go on with what they began with."""
        try:
            self._master.reload()
        except StoreError as error:
            log.error("the operator's key stays as it was: %s", error)
        try:
            settings = self._reload()
            check_traces(settings.telemetry)
            take_media = self._gallery.prepare(settings.media)
            self._gate.models = self._fleet.arrange(settings)
        except HeadgateError as error:
            log.error("configuration not changed: %s", error)
            return
        take_media()
        self._fleet.start_eager()
        self._gate.pace = _pace(settings.server)
        self._server.configure(settings.server)
        self._books.configure(settings.ledger)
        self._desk.configure(settings)
        if settings.log != self._settings.log:
            configure_log(settings.log)
        self._telemetry.configure(settings.log, settings.telemetry, _trace_names(settings))
        self._metrics.public = settings.metrics.public
        self._settings = settings
        log.info("configuration reloaded")

    async def _refresh_keys(self) -> None:
        while True:
            await asyncio.sleep(KEY_REFRESH_S)
            try:
                if self._master.refresh():
                    log.info("the operator's key was rotated")
            except StoreError as error:
                log.error("%s", error)


def base_url(settings: ServerSettings, port: int) -> str:
    """How the gate is reached from this machine."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host
    scheme = "https" if settings.tls_cert_file is not None else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def tls_context(settings: ServerSettings) -> ssl.SSLContext | None:
    """What clients are met with over TLS, or None; raises SettingsError."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password=_no_password)
    except (OSError, ValueError) as error:
        reason = "not a PEM certificate and the key that belongs to it"
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            reason = error.strerror or reason
        raise SettingsError(f"server.tls_cert_file, server.tls_key_file: {reason}") from None
    return context


def _spare_the_collector() -> None:
    """Looks for garbage less often: what exists now stays, and requests leave few cycles behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 20, 20)


def _no_password() -> str:
    raise ValueError("the key file is protected by a password")


def _pace(settings: ServerSettings) -> Pace:
    return Pace(settings.first_comment_ms, settings.comment_interval_ms)


def _trace_names(settings: Settings) -> dict[str, str]:
    """What traces call each upstream."""
    names = {
        upstream.name: trace_name(upstream.provider, upstream.dialect) for upstream in settings.upstreams
    }
    return names | {engine.name: engine.kind for engine in settings.engines}


def _report(journal: FileJournal) -> None:
    """Tells the operator what an earlier run left behind."""
    for sentence in journal.damage:
        log.warning("journal: %s", sentence)
    unknown = journal.unknown
    if unknown:
        numbers = ", ".join(str(opened.attempt) for opened in unknown[:10])
        more = " ..." if len(unknown) > 10 else ""
        log.warning(
            "journal: %d attempts ended with an earlier run, as unknown: %s%s", len(unknown), numbers, more
        )
