"""Looks names up, each once at a time, however many connections wait for it.

The system has a handful of threads for look-ups: without this, one upstream whose name server is silent would
keep all of them busy, and no other name would be found.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

Found = tuple[int, Any]
"""An address family and an address in its own form."""

_under_way: dict[tuple[asyncio.AbstractEventLoop, str, int], asyncio.Task[list[Found]]] = {}


async def look_up(host: str, port: int) -> list[Found]:
    """The addresses of a name, in the system's order; raises OSError (socket.gaierror for an unknown name).

    Whoever gives up waiting takes nothing from those who do not.
    """
    loop = asyncio.get_running_loop()
    if _is_number(host):
        return await _ask(loop, host, port)
    key = (loop, host, port)
    task = _under_way.get(key)
    if task is None:
        _under_way[key] = task = loop.create_task(_ask(loop, host, port))

        def done(ended: asyncio.Task[list[Found]]) -> None:
            del _under_way[key]
            if not ended.cancelled():
                ended.exception()  # perhaps nobody waits for it any more

        task.add_done_callback(done)
    return await asyncio.shield(task)


async def _ask(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[Found]:
    try:
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
    return [(family, address) for family, _, _, _, address in infos]


def _is_number(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
