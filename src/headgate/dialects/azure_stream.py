"""Azure's streams: annotations, without id and often without delta, made into chunks like the others.

What a filter found before the first word rides on the first chunk; what it finds later keeps its place.
"""

from __future__ import annotations

import re

import msgspec

from headgate.core import sse

_IDENTITY = ("id", "object", "created", "model")
"""What all chunks of a stream share, and annotations leave blank."""

_NOT_HELD = frozenset((*_IDENTITY, "choices", "usage"))
_BLANK_ID = re.compile(rb'"id"\s*:\s*""')
_BLANK = b'""'

_Fields = dict[str, msgspec.Raw]
_chunk = msgspec.json.Decoder(_Fields)
_choices = msgspec.json.Decoder(list[_Fields] | None)
_encode = msgspec.json.Encoder().encode


class AnnotatedStream:
    """Translates one stream; a chunk that says something passes byte for byte."""

    __slots__ = ("_held", "_identity")

    def __init__(self) -> None:
        self._identity: _Fields | None = None
        self._held: _Fields = {}

    def whole(self, body: bytes) -> bytes:
        """A whole reply is OpenAI's, with annotations beside."""
        return body

    def event(self, event: bytes) -> bytes:
        """One event; annotations that come before the first chunk wait for it."""
        if self._identity is not None and not self._held and not _BLANK_ID.search(event):
            return event
        data = sse.payload(event)
        try:
            chunk = _chunk.decode(data or b"")
            if "error" in chunk:
                return event
            if bytes(chunk.get("id", b"")) == _BLANK:
                return self._annotation(chunk)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return event  # a comment, the end, or nothing that is known: the gate judges
        if self._identity is None:
            self._identity = {name: _kept(chunk[name]) for name in _IDENTITY if name in chunk}
        if not self._held:
            return event
        held, self._held = self._held, {}
        return sse.event(_encode({**held, **chunk}))

    def end(self) -> bytes:
        """Nothing is owed."""
        return b""

    def _annotation(self, chunk: _Fields) -> bytes:
        choices = _choices.decode(chunk.get("choices", b"[]")) or []
        if self._identity is None and not choices:
            self._held |= {name: _kept(value) for name, value in chunk.items() if name not in _NOT_HELD}
            return b""
        for choice in choices:
            # The official clients read `delta` of every choice.
            choice.setdefault("delta", msgspec.Raw(b"{}"))
        return sse.event(_encode({**chunk, **(self._identity or {}), "choices": choices}))


def _kept(value: msgspec.Raw) -> msgspec.Raw:
    """A copy that outlives the event."""
    return msgspec.Raw(bytes(value))
