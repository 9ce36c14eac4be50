"""Makes upstreams from settings, and keeps those that a reload leaves as they are."""

from __future__ import annotations

import asyncio
import os
import time

import msgspec

from headgate.backends.address import parse_address, proxy_for
from headgate.backends.connect import tls_context
from headgate.backends.pool import Limits, Pool
from headgate.backends.upstreams import Place, RemoteUpstream
from headgate.core.address import parse_base_url
from headgate.core.ports import Dialect
from headgate.core.settings import Engine, Settings, Upstream
from headgate.dialects.openai import OpenAI
from headgate.gateway.route import Models, Target

DIALECTS: dict[str, Dialect] = {"openai": OpenAI()}
"""Every wire format we speak, by its name in the configuration."""


class Fleet:
    """All upstreams of the running configuration."""

    def __init__(self) -> None:
        self._remote: list[tuple[Upstream, RemoteUpstream, Pool]] = []
        self._started_s = int(time.time())
        self._closing: set[asyncio.Task[None]] = set()

    def arrange(self, settings: Settings) -> Models:
        """The table of models for these settings; upstreams that did not change keep their connections.

        Raises SettingsError before anything has changed.
        """
        before = self._remote
        after = [self._kept(upstream, before) or self._make(upstream) for upstream in settings.upstreams]
        self._remote = after
        for entry in before:
            if entry not in after:
                task = asyncio.get_running_loop().create_task(entry[2].close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        targets: dict[str, Target] = {}
        for upstream, remote, _ in after:
            for model in upstream.models:
                targets[model.name] = Target(model.name, remote, model.sent_as, self._started_s, upstream.name)
        for alias, name in settings.aliases.items():
            if name in targets:
                targets[alias] = targets[name]
        return Models(targets)

    def start_eager(self) -> None:
        """Starts the engines that are to start with the gate."""

    async def stop(self) -> None:
        """Closes every connection and stops every engine."""
        for _, _, pool in self._remote:
            await pool.close()

    def _kept(
        self, upstream: Upstream, entries: list[tuple[Upstream, RemoteUpstream, Pool]]
    ) -> tuple[Upstream, RemoteUpstream, Pool] | None:
        for entry in entries:
            if _connection(entry[0]) == _connection(upstream):
                return upstream, entry[1], entry[2]
        return None

    def _make(self, upstream: Upstream) -> tuple[Upstream, RemoteUpstream, Pool]:
        address = parse_base_url(upstream.base_url)
        limits = Limits(
            connect_timeout_ms=upstream.connect_timeout_ms,
            first_byte_timeout_ms=upstream.first_byte_timeout_ms,
            idle_timeout_ms=upstream.idle_timeout_ms,
        )
        tls = tls_context(str(upstream.ca_file or "")) if address.tls else None
        pool = Pool(parse_address(upstream.base_url), limits=limits, proxy=proxy_for(address, os.environ), tls=tls)
        headers = [(name.lower().encode(), value.reveal().encode()) for name, value in upstream.headers.items()]
        if upstream.api_key is not None:
            headers.insert(0, (b"authorization", b"Bearer " + upstream.api_key.reveal().encode()))
        query = [(name, value.reveal()) for name, value in upstream.query.items()]
        place = Place(pool, address, headers, query)
        remote = RemoteUpstream(upstream.name, DIALECTS[upstream.dialect], place, upstream.max_in_flight)
        return upstream, remote, pool


def _connection(upstream: Upstream) -> Upstream:
    """An upstream's settings without its models, which may change without touching a connection."""
    return msgspec.structs.replace(upstream, models=())
