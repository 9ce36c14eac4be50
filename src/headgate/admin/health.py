"""GET /healthz (the process lives) and /readyz (it can serve), as an ASGI application.

Open to anyone who can connect, so neither says anything about models or upstreams.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Health:
    """Answers by path; `unready` gives the reason why requests would fail, or None."""

    def __init__(self, unready: Callable[[], str | None]) -> None:
        self._unready = unready

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        reason = self._unready() if scope["path"] == "/readyz" else None
        status, body = (200, {"status": "ok"}) if reason is None else (503, {"status": reason})
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": msgspec.json.encode(body)})
