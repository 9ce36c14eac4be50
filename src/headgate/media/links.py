"""GET and HEAD of kept media, as an ASGI application: byte ranges, and headers that let nothing in it run.

Must not know who was given a link: whoever has it may read, until it expires.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from headgate.core.errors import NotFound, StoreError
from headgate.media.shelf import Kept, Shelf

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

SAFE_HEADERS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"referrer-policy", b"no-referrer"),
)
"""A browser shows it as what it is and runs nothing; other sites may show it too; its link does not leak."""

_RANGE = re.compile(r"bytes=(?:(?P<first>[0-9]{1,15})-(?P<last>[0-9]{0,15})|-(?P<suffix>[0-9]{1,15}))")
"""One range. Several at once are answered with the whole, as RFC 9110 allows: attacks are all they serve."""


class Links:
    """Answers below a path that ends with the name."""

    def __init__(self, shelf: Callable[[], Shelf], clock: Callable[[], float]) -> None:
        """`shelf` is asked for each request: a reload may have replaced it."""
        self._shelf = shelf
        self._clock = clock

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        name = scope["path"].rpartition("/")[2]
        shelf = self._shelf()
        try:
            kept = await shelf.find(name)
        except StoreError as error:
            log.error("%s", error)
            await _whole(send, 503, b"", [])
            return
        if kept is None:
            gone = NotFound("There is nothing here, or not any more: links to media expire.")
            await _whole(send, 404, gone.body(), [(b"content-type", b"application/json")])
            return
        await self._serve(shelf, kept, scope, send)

    async def _serve(self, shelf: Shelf, kept: Kept, scope: Message, send: Send) -> None:
        tag = b'"%b"' % kept.name.encode()
        fields = dict(scope["headers"])
        headers = [
            (b"content-type", kept.kind.encode()),
            (b"etag", tag),
            (b"accept-ranges", b"bytes"),
            (b"cache-control", b"private, max-age=%d, immutable" % (kept.expires_s - int(self._clock()))),
            *SAFE_HEADERS,
        ]
        if tag in fields.get(b"if-none-match", b""):
            await _whole(send, 304, b"", headers)
            return
        wanted = fields.get(b"range", b"").decode("latin-1")
        if fields.get(b"if-range", tag) != tag:
            wanted = ""
        status, start, end = select(wanted, kept.size)
        if status == 206:
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, kept.size)))
        elif status == 416:
            await _whole(send, 416, b"", [(b"content-range", b"bytes */%d" % kept.size), *SAFE_HEADERS])
            return
        headers.append((b"content-length", b"%d" % (end - start)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if scope["method"] != "HEAD":
            async for piece in shelf.read(kept, start, end):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def select(wanted: str, size: int) -> tuple[int, int, int]:
    """Status, first byte and end for a Range header: 200, 206 or 416. What cannot be read is ignored."""
    found = _RANGE.fullmatch(wanted)
    if found is None:
        return 200, 0, size
    if found["suffix"] is not None:
        start, end = max(0, size - int(found["suffix"])), size
    else:
        start = int(found["first"])
        end = int(found["last"]) + 1 if found["last"] else size
        if found["last"] and end <= start:
            return 200, 0, size
        end = min(size, end)
    return (206, start, end) if start < end else (416, 0, 0)


async def _whole(send: Send, status: int, body: bytes, headers: list[Header]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [*headers]})
    await send({"type": "http.response.body", "body": body})
