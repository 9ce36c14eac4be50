"""Carries a heavy body past everything that would look into it, in steps that let others be served.

Its long base64 is cut out as it comes, and put back into what goes upstream. Whatever is odd about it is left
to the plain way, which says what is wrong in the usual words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from os import urandom

from headgate.core.cut import TOKEN_BYTES, CutBody, Cutter, WholeBodyNeeded
from headgate.core.errors import ApiError
from headgate.core.ports import Call, Exchange, Outgoing
from headgate.gateway.route import Target

HEAVY_BYTES = 524_288
"""Bodies above this are cut: handling one of this size in one go takes a millisecond."""

STEP_BYTES = 131_072
"""Looked at in one turn of the loop, in a tenth of a millisecond; half of what one read may bring."""

Prepared = tuple[Call, Target, Outgoing]
Prepare = Callable[[bytes, bool], Prepared]
"""Body to checked, routed and translated request; the flag tells that the body is abridged."""


async def carry(exchange: Exchange, beginning: bytes, prepare: Prepare) -> Prepared:
    """Reads the rest of a heavy body and prepares its request; raises ApiError as `prepare` does."""
    body = await read_cut(exchange, beginning)
    if isinstance(body, CutBody):
        prepared = _prepare_cut(body, prepare)
        if prepared is not None:
            return prepared
        body = body.whole()
    return prepare(body, False)


async def read_cut(exchange: Exchange, beginning: bytes) -> CutBody | bytes:
    """Reads the rest of a body, cutting it as it comes."""
    cutter = Cutter(urandom(TOKEN_BYTES // 2).hex().encode())
    piece = beginning
    while piece:
        for start in range(0, len(piece), STEP_BYTES):
            cutter.feed(piece[start : start + STEP_BYTES])
            await asyncio.sleep(0)
        piece = await exchange.body(STEP_BYTES)
    return cutter.finish()


def _prepare_cut(body: CutBody, prepare: Prepare) -> Prepared | None:
    """The request, whole again; None where it has to be prepared from the whole body."""
    try:
        prepared = prepare(body.skeleton, True)
    except (ApiError, WholeBodyNeeded):
        return None  # an error may quote a stand-in, or tell of a length that is not the true one
    call, _, outgoing = prepared
    outgoing.mended = body.mend(outgoing.body) if body.is_sound(call.fields) else None
    if outgoing.mended is None:
        return None
    call.body_bytes = len(body)
    return prepared
