"""Unpacks gzip a little at a time, within a limit. Must not know where the bytes come from."""

from __future__ import annotations

import zlib

from headgate.core.errors import BadRequest
from headgate.edge.limits import INFLATE_STEP_BYTES
from headgate.edge.wire import too_large


class Inflater:
    """Unpacks one gzip body; raises BadRequest for what is none, and TooLarge past the limit (a bomb)."""

    __slots__ = ("_left_bytes", "_limit_bytes", "_packed", "_unpacker")

    def __init__(self, limit_bytes: int) -> None:
        self._unpacker = zlib.decompressobj(wbits=31)
        self._limit_bytes = limit_bytes
        self._left_bytes = limit_bytes
        self._packed = b""

    def feed(self, packed: bytes) -> None:
        """Takes more of the body; `step` must have returned nothing before."""
        if self._unpacker.eof:
            raise BadRequest("The gzip request body is followed by other bytes.")
        self._packed = packed

    def step(self) -> bytes:
        """Unpacks up to INFLATE_STEP_BYTES; nothing when it needs to be fed."""
        unpacker = self._unpacker
        try:
            piece = unpacker.decompress(self._packed, INFLATE_STEP_BYTES)
        except zlib.error:
            raise BadRequest("The request body is not valid gzip.") from None
        self._packed = unpacker.unconsumed_tail
        if unpacker.unused_data:
            raise BadRequest("The gzip request body is followed by other bytes.")
        self._left_bytes -= len(piece)
        if self._left_bytes < 0:
            raise too_large(self._limit_bytes)
        return piece

    def finish(self) -> None:
        """The body has ended; raises BadRequest when it is cut short."""
        if not self._unpacker.eof:
            raise BadRequest("The gzip request body is cut short.")
