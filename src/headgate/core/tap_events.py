"""Watches a stream of typed events on its way: usage, errors, the end; estimates what never comes.

For formats whose events say their own `type`, and which end with one of them instead of `[DONE]`. Pure; it is
to the relay what `core.tap.StreamTap` is for chunks.
"""

from __future__ import annotations

import re

import msgspec

from headgate.core.estimate import estimate_prompt_tokens, estimate_tokens
from headgate.core.sse import events, payload
from headgate.core.usage import Source, Usage, UsageObject

KEPT_BYTES = 32_768
"""Raw events kept per stream for an estimate, folded into a running count when full."""

LAST = frozenset(("response.completed", "response.incomplete", "response.failed", "message_stop"))
"""Types of events after which nothing comes."""

# What a model says, in the pieces of either format.
_SAID = re.compile(rb'"(?:delta|text|partial_json|thinking)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"')


class _Inner(msgspec.Struct, gc=False):
    """A response, or a message: what the first and the last events carry."""

    usage: UsageObject | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    response: _Inner | None = None
    message: _Inner | str | None = None
    usage: UsageObject | None = None


_decode = msgspec.json.Decoder(_Event).decode
_is_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class EventTap:
    """Reads along with one stream."""

    __slots__ = (
        "_estimated_tokens",
        "_kept",
        "_kept_bytes",
        "_prompt_bytes",
        "_seen",
        "done",
        "error",
        "malformed",
    )

    closing = b""
    """Nothing follows the last event."""

    def __init__(self, *, prompt_bytes: int) -> None:
        self._prompt_bytes = prompt_bytes
        self._seen: UsageObject | None = None
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._estimated_tokens = 0
        self.error: bytes | None = None
        """The data of an error event; it is not passed on."""
        self.done = False
        """The last event has come."""
        self.malformed = 0
        """Events left out because their data was not a JSON object."""

    @property
    def usage(self) -> Usage | None:
        """The usage that was reported, its parts put together."""
        return self._seen.counted() if self._seen is not None else None

    @property
    def finished(self) -> bool:
        """Without its last event a stream has broken off."""
        return self.done

    def scan(self, block: bytes) -> bytes:
        """Looks at a block of whole events and returns what the client may see of it.

        The block itself, the same object, says that nothing was found in it.
        """
        out = b"".join(map(self._look, events(block)))
        return out[:1] + out[1:] if self.done else out

    def counted(self, *, complete: bool) -> Usage:
        """The usage to account for, reported or else estimated."""
        reported = self.usage
        if reported is not None and (complete or reported.output_tokens):
            return reported
        self._fold()
        return Usage(
            Source.ESTIMATED if complete else Source.PARTIAL,
            # A message says at its beginning what it has read.
            input_tokens=reported.input_tokens if reported else estimate_prompt_tokens(self._prompt_bytes),
            output_tokens=self._estimated_tokens,
        )

    def _look(self, event: bytes) -> bytes:
        data = payload(event)
        if self.done or self.error is not None:
            return b""
        if data is None:
            return event
        if data.strip() == b"[DONE]":
            return b""  # some imitators end every stream with it
        try:
            found = _decode(data)
        except msgspec.ValidationError:
            return self._odd(event, data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.malformed += 1
            return b""
        if found.type == "error":
            self.error = data
            return b""
        inner = found.response if found.response is not None else found.message
        for usage in (inner.usage if isinstance(inner, _Inner) else None, found.usage):
            if usage is not None:
                self._take(usage)
        if found.type in LAST:
            self.done = True
            return event
        self._keep(event)
        return event

    def _odd(self, event: bytes, data: bytes) -> bytes:
        """JSON, but not as we know it: an object passes, anything else is left out."""
        try:
            _is_object(data)
        except msgspec.ValidationError:
            self.malformed += 1
            return b""
        self._keep(event)
        return event

    def _take(self, later: UsageObject) -> None:
        """Parts come one after the other, each a running total."""
        if self._seen is None:
            self._seen = later
            return
        for name in later.__struct_fields__:
            value = getattr(later, name)
            if value is not None:
                setattr(self._seen, name, value)

    def _keep(self, event: bytes) -> None:
        self._kept.append(event)
        self._kept_bytes += len(event)
        if self._kept_bytes > KEPT_BYTES:
            self._fold()

    def _fold(self) -> None:
        said = b"".join(_SAID.findall(b"".join(self._kept)))
        self._estimated_tokens += estimate_tokens(said.decode(errors="replace"))
        self._kept, self._kept_bytes = [], 0
