"""An ASGI application that is made when it is first asked for, in a thread: its framework takes a third of a
second to load, and tens of megabytes, and a gate has to open at once. Must not know which application it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

PATH = "/admin/v1"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""Where the operator's API is, and what it takes."""

BODY_LIMIT_BYTES = 1_048_576
"""A key with all its limits and metadata takes a few kilobytes."""


class Deferred:
    """Stands for what `make` returns."""

    def __init__(self, make: Callable[[], Application]) -> None:
        self._make = make
        self._made: Application | None = None
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if self._made is None:
            async with self._lock:
                if self._made is None:
                    self._made = await asyncio.to_thread(self._make)
        await self._made(scope, receive, send)
