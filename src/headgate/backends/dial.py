"""A connected TCP socket for a name: looks it up, and tries its addresses as RFC 8305 says.

Must not know what the socket is for.
"""

from __future__ import annotations

import asyncio
import socket
from itertools import chain, zip_longest
from typing import Any

from headgate.backends.names import Found, look_up

HEAD_START_S = 0.25
"""How long one address is tried alone before the next joins in: what RFC 8305 recommends."""

PROBE_AFTER_S = 60
"""A silent connection is probed by the kernel, so that firewalls remember it while a model thinks."""


async def dial(host: str, port: int) -> socket.socket:
    """Returns a connected, non-blocking socket; raises OSError (socket.gaierror for an unknown name).

    A dead address, or one family that leads nowhere, costs a quarter of a second and not the connection.
    """
    return await first_of(interleave(await look_up(host, port)))


async def first_of(found: list[Found]) -> socket.socket:
    """Tries addresses in their order, each joining in a little later than the one before; the first wins."""
    loop = asyncio.get_running_loop()
    waiting = [*found]
    running: set[asyncio.Task[socket.socket]] = set()
    failed: list[BaseException] = []
    try:
        while waiting or running:
            if waiting:
                running.add(loop.create_task(_try(*waiting.pop(0))))
            done, _ = await asyncio.wait(
                running, timeout=HEAD_START_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                running.discard(task)
                error = task.exception()
                if error is None:
                    return task.result()
                failed.append(error)
        raise failed[0] if failed else OSError("no address")
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_discard)


def interleave(found: list[Found]) -> list[Found]:
    """The addresses with families in turn, the first one's first, and their order within a family kept."""
    first = [entry for entry in found if entry[0] == found[0][0]]
    others = [entry for entry in found if entry[0] != found[0][0]]
    pairs = chain.from_iterable(zip_longest(first, others))
    return [entry for entry in pairs if entry is not None]


async def _try(family: int, address: Any) -> socket.socket:
    raw = socket.socket(family, socket.SOCK_STREAM)
    try:
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER_S)
        await asyncio.get_running_loop().sock_connect(raw, address)
    except BaseException:
        raw.close()
        raise
    return raw


def _discard(task: asyncio.Task[socket.socket]) -> None:
    """Closes what a loser of the race has connected after all."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
