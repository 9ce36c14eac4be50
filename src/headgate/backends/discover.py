"""Asks an upstream which models it has, again and again. Must not know what becomes of the answer."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from urllib.parse import quote, urlencode

import msgspec

from headgate import __version__
from headgate.backends.upstreams import Place
from headgate.core.errors import HeadgateError, UpstreamFailed
from headgate.core.settings_kinds import ModelName

log = logging.getLogger("headgate.backends")

PATHS = {
    "openai": "/models",
    "llamacpp": "/models",
    "anthropic": "/models?limit=1000",
    "gemini": "/models?pageSize=1000",
}
"""Where each dialect lists its models, all on one page. Those that are not here have no such list."""

LIST_LIMIT_BYTES = 8 * 1024 * 1024
"""The longest list known, an aggregator's with prices and descriptions, has two megabytes."""

FIRST_RETRY_MS = 2_000
"""When to ask again after a first failure; doubled up to the interval. A server that starts takes seconds."""


class _Named(msgspec.Struct):
    id: str = ""
    name: str = ""


class _Page(msgspec.Struct):
    data: list[_Named] | None = None
    models: list[_Named] | None = None


_decode = msgspec.json.Decoder(list[_Named] | _Page).decode


def read_list(body: bytes) -> tuple[str, ...]:
    """The names in a list of models: OpenAI's shape, a bare list, or one with resource names.

    Raises UpstreamFailed for anything else. Names that no client could write are left out.
    """
    try:
        page = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UpstreamFailed("what came is no list of models") from None
    entries = page if isinstance(page, list) else page.data if page.data is not None else page.models
    if entries is None:
        raise UpstreamFailed("what came is no list of models")
    names = []
    for entry in entries:
        try:
            names.append(msgspec.convert(entry.id or entry.name.removeprefix("models/"), ModelName))
        except msgspec.ValidationError:
            continue
    return tuple(dict.fromkeys(names))


async def ask(place: Place, path: str) -> tuple[str, ...]:
    """The models that an upstream says it has; raises HeadgateError."""
    reply = await place.pool.send(_head(place, path), b"")
    try:
        body = await reply.read(LIST_LIMIT_BYTES)
    finally:
        reply.close()
    if reply.status != 200:
        raise UpstreamFailed(f"the answer has the status {reply.status}")
    return read_list(body)


async def watch(
    name: str, place: Place, path: str, interval_ms: int, found: Callable[[tuple[str, ...]], None]
) -> None:
    """Tells `found` of every list that differs from the last one, until it is cancelled.

    A list that cannot be had is logged once, and changes nothing.
    """
    known: tuple[str, ...] | None = None
    failing, wait_ms = False, FIRST_RETRY_MS
    while True:
        try:
            models = await ask(place, path)
        except HeadgateError as error:
            if not failing:
                log.warning('upstream "%s": its models cannot be listed: %s', name, error)
            failing = True
            wait_ms = min(wait_ms * 2, interval_ms)
        else:
            failing, wait_ms = False, interval_ms
            if models != known:
                known = models
                log.info('upstream "%s" has %d models', name, len(models))
                found(models)
        # Many gates that were started together must not ask together for ever.
        await asyncio.sleep(wait_ms / 1000 * (1 - random.random() / 10))


def _head(place: Place, path: str) -> bytes:
    target = place.address.prefix + path
    if place.query:
        target += ("&" if "?" in path else "?") + urlencode(place.query, quote_via=quote)
    lines = [
        b"GET %b HTTP/1.1" % target.encode("ascii"),
        b"host: " + place.address.authority.encode("ascii"),
        b"user-agent: headgate/" + __version__.encode("ascii"),
        b"accept: application/json",
        b"accept-encoding: identity",
        *(b"%b: %b" % line for line in place.headers),
    ]
    return b"\r\n".join([*lines, b"", b""])
