"""GET /admin/v1/health: how every target is doing now, as an ASGI application, for the operator alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from headgate.core.observer import Reading
from headgate.core.operator import operators_only
from headgate.core.ports import Keys

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Condition:
    """Answers with what `read` finds."""

    def __init__(self, read: Callable[[], Reading], keys: Keys) -> None:
        self._read = read
        self._keys = keys

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        refusal = operators_only(dict(scope["headers"]).get(b"authorization", b""), self._keys)
        if refusal is not None:
            status, body = refusal.status, refusal.body()
        else:
            status, body = 200, msgspec.json.encode(self._read())
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
