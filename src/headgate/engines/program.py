"""What the engines that are written in Python share: the shape of such a program, its door, its log.

Written against the Exchange port, so that a body can be taken as it arrives and a reply be sent as it is
made; who listens is joined in `headgate.hosting`. Must not know any particular model.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from headgate.core import violation
from headgate.core.errors import NotFound, QueueFull, Unauthorized
from headgate.core.ports import Exchange
from headgate.engines.place import Place, end_with_parent, make_way

JSON = b"content-type: application/json\r\n"

BUSY_RETRY_MS = 1000
"""When to come back to an engine whose queue is full: most requests take less."""

Command = TypeVar("Command", bound=Callable[..., Any])
Result = TypeVar("Result")


class Options(Place, frozen=True, kw_only=True):
    """What every such program's command line says."""

    alias: str
    """What replies call the model."""
    model: Path | None = None
    threads: int | None = None
    limit: int = 64
    """Requests under way and waiting; further ones are refused."""

    @property
    def thread_count(self) -> int:
        """CPU threads to use: all cores where nobody says, for these libraries block instead of spinning."""
        return self.threads or os.cpu_count() or 1


class Service(msgspec.Struct, frozen=True):
    """One thing that a program answers."""

    path: str
    answer: Callable[[Exchange], Awaitable[None]]
    body_limit_bytes: int


class Program(msgspec.Struct, frozen=True):
    """An engine whose model is loaded, ready to be listened for."""

    options: Options
    services: tuple[Service, ...]


def model_options(command: Command) -> Command:
    """The options of `Options` that stand beside those of `place_options`."""
    for option in (
        click.option(
            "--limit", type=click.IntRange(1), default=64, help="Requests under way and waiting, at most."
        ),
        click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads.  [default: all cores]"),
    ):
        command = option(command)
    return command


def prepare(options: Options) -> None:
    """To be called before a model is loaded: ties the process to its gate, frees its socket, sets its log.

    Raises SettingsError when the place is taken.
    """
    if options.supervised:
        end_with_parent(options.socket)
    if options.socket:
        make_way(options.socket)
    # The supervisor reads llama.cpp's form of a line: a clock, a level, words.
    style = "%(relativeCreated)d %(levelname).1s %(message)s" if options.supervised else "%(message)s"
    logging.basicConfig(level=logging.INFO, format=style, stream=sys.stderr)


class Door:
    """Lets requests in: those with the key, as many as there is room for."""

    def __init__(self, options: Options, key: str | None) -> None:
        self._key = key.encode() if key is not None else None
        self._limit = options.limit
        self._in_flight = 0
        entry = {"id": options.alias, "object": "model", "created": 0, "owned_by": "headgate"}
        self._list = msgspec.json.encode({"object": "list", "data": [entry]})

    async def health(self, exchange: Exchange) -> None:
        """That the model is loaded; anybody may know."""
        exchange.reply(200, JSON, b'{"status":"ok"}')

    async def models(self, exchange: Exchange) -> None:
        """The one model there is."""
        self._check_key(exchange)
        exchange.reply(200, JSON, self._list)

    async def serve(self, service: Service, exchange: Exchange) -> None:
        """One request; raises Unauthorized or QueueFull."""
        self._check_key(exchange)
        if self._in_flight >= self._limit:
            raise QueueFull(
                "Too many requests are waiting for this model. Try again shortly.",
                retry_after_ms=BUSY_RETRY_MS,
            )
        self._in_flight += 1
        try:
            await service.answer(exchange)
        finally:
            self._in_flight -= 1

    def _check_key(self, exchange: Exchange) -> None:
        if self._key is None:
            return
        scheme, _, token = (exchange.header(b"authorization") or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self._key):
            raise Unauthorized("Incorrect API key provided.")


def check_model(name: str, options: Options) -> None:
    """Raises NotFound when a request names another model than the one that is here."""
    if name != options.alias:
        raise NotFound(f"The model `{name[:64]}` does not exist here.", code="model_not_found")


class Outflow:
    """A reply that is sent while it is made: waits while its reader does not keep up."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._open = asyncio.Event()
        self._open.set()

    async def write(self, data: bytes) -> None:
        """Sends a piece; returns when the reader has taken most of what was sent."""
        self._exchange.throttle(self)
        self._exchange.write(data)
        await self._open.wait()

    def pause(self) -> None:
        """The reader is slow."""
        self._open.clear()

    def resume(self) -> None:
        """The reader has caught up."""
        self._open.set()


class Worker:
    """One thread for work that may not be done by two at once, or would only get in its own way."""

    def __init__(self, name: str) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def do(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Runs `work` there. Cancelled while it waits, it never begins; else it is left to end by itself."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(work, *arguments))

    def later(self, work: Callable[[], object]) -> None:
        """Runs `work` there when its turn comes; nobody waits for it."""
        self._threads.submit(work)


def one_of(param: str, value: str, known: Sequence[str]) -> None:
    """Raises InvalidField, in OpenAI's words, when a value is none of those that are known."""
    if value not in known:
        *most, last = [f"'{word}'" for word in known]
        listed = f"{', '.join(most)} and {last}" if most else last
        raise violation.wrong_value(
            param, f"Invalid value: '{violation.quote(value)}'. Supported values are: {listed}."
        )
