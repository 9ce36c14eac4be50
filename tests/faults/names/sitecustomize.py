"""Loaded by the gate of the fault run before anything else: a name server that never says a word.

Stands for the outside world alone: the look-up of one name. All the rest of the gate is as it is.
"""

from __future__ import annotations

import asyncio
import socket

from headgate.backends import names

SLOW_NAME = "slow.test"

_ask = names._ask


async def ask(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[names.Found]:
    """Waits for ever for the one name."""
    if host == SLOW_NAME:
        await asyncio.sleep(3600)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")
    return await _ask(loop, host, port)


names._ask = ask
