"""Carries a form to its upstream: checked while it arrives, its files set aside, its model renamed.

The form that goes on is written anew, part by part, so that no two parsers can disagree about it.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex

import msgspec

from headgate.core.cut import Pieces
from headgate.core.endpoint import Endpoint
from headgate.core.errors import Overloaded
from headgate.core.multipart import FormReader, read_form
from headgate.core.ports import Call, Exchange, Outgoing
from headgate.gateway.admit import ModelRequest
from headgate.gateway.spool import Spool

READ_BYTES = 262_144
"""Of a body, taken at a time: parsed in a quarter of a millisecond."""

BOUNDARY = f"headgate-{token_hex(16)}"
"""Of every form that goes upstream: no client can know it, so none can write it into a file."""

NO_ROOM_RETRY_MS = 5000
"""When to come back to a full disk: somebody has to make room."""

Fill = Callable[[Outgoing, Call], None]
"""Puts the form into what goes upstream."""


async def carry_form(exchange: Exchange, endpoint: Endpoint, spool: Spool) -> tuple[Call, Fill]:
    """Reads and checks a form; raises ApiError. The caller closes `spool` when nobody needs the form."""
    pieces: list[bytes] = []
    reader = FormReader(exchange.header(b"content-type"), pieces.append, BOUNDARY)
    size = 0
    while data := await exchange.body(READ_BYTES):
        size += len(data)
        reader.feed(data)
        try:
            await spool.write(pieces)
        except OSError:
            raise Overloaded(
                "The server has no room for the upload now.", retry_after_ms=NO_ROOM_RETRY_MS
            ) from None
        pieces.clear()
    form = reader.finish()
    assert endpoint.request is not None
    request = read_form(form, endpoint.request, endpoint.uploads)
    # What it is estimated by are its words: a file's bytes are no tokens.
    words_bytes = sum(len(text) for texts in form.fields.values() for text in texts)

    def fill(outgoing: Outgoing, call: Call) -> None:
        outgoing.mended = Pieces([spool.buffer(), reader.closing(call.upstream_model)])
        outgoing.content_type = f"multipart/form-data; boundary={BOUNDARY}"

    return _call(exchange, endpoint, request, words_bytes), fill


def _call(exchange: Exchange, endpoint: Endpoint, request: msgspec.Struct, words_bytes: int) -> Call:
    known: ModelRequest = request  # type: ignore[assignment]  # the row's type has what every request has
    stream = known.stream is True
    return Call(
        endpoint,
        request,
        {},
        stream,
        stream and known.stream_options is not None and known.stream_options.include_usage is True,
        "",
        request_id=exchange.request_id,
        model=known.model,
        body_bytes=words_bytes,
    )
