"""Carries a heavy body past everything that would look into it, in steps that let others be served.

Its long base64 is cut out as it comes, and put back into what goes upstream. Whatever is odd about it is left
to the plain way, which says what is wrong in the usual words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from os import urandom

from headgate.core.cut import TOKEN_BYTES, CutBody, Cutter
from headgate.core.errors import ApiError
from headgate.core.ports import Call, Exchange

HEAVY_BYTES = 524_288
"""Bodies above this are cut: handling one of this size in one go takes a millisecond."""

STEP_BYTES = 131_072
"""Looked at in one turn of the loop, in a tenth of a millisecond; half of what one read may bring."""

Admit = Callable[[bytes], Call]


async def carry(exchange: Exchange, beginning: bytes, admit: Admit) -> tuple[Call, CutBody | None]:
    """Reads the rest of a heavy body and checks its request, without what is cut out of it where that can be.

    Raises ApiError as `admit` does.
    """
    body = await read_cut(exchange, beginning)
    if isinstance(body, bytes):
        return admit(body), None
    call = _admit_cut(body, admit)
    return (call, body) if call is not None else (admit(body.whole()), None)


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


def _admit_cut(body: CutBody, admit: Admit) -> Call | None:
    """The request without what was cut out; None where it has to be checked with it."""
    try:
        call = admit(body.skeleton)
    except ApiError:
        return None  # it may quote a stand-in, or tell of a length that is not the true one
    if not body.is_sound(call.fields):
        return None
    call.abridged = True
    call.body_bytes = len(body)
    return call
