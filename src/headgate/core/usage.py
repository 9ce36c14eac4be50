"""What a request used, as far as anyone can tell. Counting only; prices live elsewhere."""

from __future__ import annotations

from enum import IntEnum
from math import ceil

import msgspec


class Source(IntEnum):
    """How much the numbers can be trusted."""

    UNKNOWN = 0
    """Nobody knows: the process died in between."""
    REPORTED = 1
    """The upstream said so."""
    ESTIMATED = 2
    """The upstream said nothing: counted from what passed."""
    PARTIAL = 3
    """The reply broke off or the client left: counted from what passed until then."""


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Token counts of one attempt."""

    source: Source = Source.UNKNOWN
    input_tokens: int = 0
    cached_input_tokens: int = 0
    """Part of the input that the upstream read from its prompt cache."""
    output_tokens: int = 0
    reasoning_tokens: int = 0
    """Part of the output that was reasoning."""
    cache_write_tokens: int = 0
    """Part of the input that the upstream wrote to its prompt cache."""
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    images: int = 0
    """Pictures that were made, where they are counted so."""
    seconds: int = 0
    """Of sound."""
    characters: int = 0
    """That were spoken."""


_LIMIT = 2**63
"""Counts from here on cannot be recorded."""

UNKNOWN_USAGE = Usage()
REPORTED, ESTIMATED = Source.REPORTED, Source.ESTIMATED  # members of an enum are looked up slowly


class _Details(msgspec.Struct, gc=False):
    """What stands under `..._tokens_details`, of either direction."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


_NO_DETAILS = _Details()


class UsageObject(msgspec.Struct, gc=False):
    """OpenAI's `usage`, as far as it is counted: in the words of conversations, or of pictures and sounds."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    estimated: bool | None = None
    """Ours: a dialect counted where the upstream had not, for clients that need the object."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    seconds: float | None = None
    cache_read_input_tokens: int | None = None
    """Of messages: what the cache held, or takes, is not in `input_tokens` there."""
    cache_creation_input_tokens: int | None = None
    total_tokens: int | None = None

    def counted(self) -> Usage:
        """As a record; a count that is absent is 0 here, for the upstream did speak."""
        source = ESTIMATED if self.estimated else REPORTED
        into = self.prompt_tokens_details or self.input_tokens_details
        out = self.completion_tokens_details or self.output_tokens_details
        read = self.prompt_tokens if self.prompt_tokens is not None else self.input_tokens
        made = self.completion_tokens if self.completion_tokens is not None else self.output_tokens
        if read is None or self.cache_read_input_tokens is not None:
            return self._otherwise(source, read, made)
        if into is None and out is None and self.seconds is None:
            if made is not None and 0 <= read < _LIMIT and 0 <= made < _LIMIT:  # nearly always
                return Usage(source, read, 0, made)
            return Usage(source, _count(read), 0, _count(made))
        into, out = into or _NO_DETAILS, out or _NO_DETAILS
        return Usage(
            source,
            _count(read),
            _count(into.cached_tokens),
            _count(made),
            _count(out.reasoning_tokens),
            _count(into.cache_write_tokens),
            _count(into.audio_tokens),
            _count(into.image_tokens),
            _count(out.audio_tokens),
            _count(out.image_tokens),
            seconds=_whole(self.seconds),
        )

    def _otherwise(self, source: Source, read: int | None, made: int | None) -> Usage:
        """In the words of messages, or of what only reads."""
        if read is None and made is None:
            read = self.total_tokens
        cached, written = _count(self.cache_read_input_tokens), _count(self.cache_creation_input_tokens)
        out = self.completion_tokens_details or self.output_tokens_details or _NO_DETAILS
        return Usage(
            source,
            _count(read) + cached + written,
            cached,
            _count(made),
            _count(out.reasoning_tokens),
            written,
            seconds=_whole(self.seconds),
        )


def odd_usage(raw: bytes) -> Usage | None:
    """The counts in a `usage` that bends OpenAI's types, as far as they can be read; None for no object."""
    found = msgspec.json.decode(raw)
    if not isinstance(found, dict):
        return None
    into = _object(found.get("prompt_tokens_details") or found.get("input_tokens_details"))
    out = _object(found.get("completion_tokens_details") or found.get("output_tokens_details"))
    return Usage(
        Source.REPORTED,
        _count(found.get("prompt_tokens", found.get("input_tokens"))),
        _count(into.get("cached_tokens")),
        _count(found.get("completion_tokens", found.get("output_tokens"))),
        _count(out.get("reasoning_tokens")),
        _count(into.get("cache_write_tokens")),
        _count(into.get("audio_tokens")),
        _count(into.get("image_tokens")),
        _count(out.get("audio_tokens")),
        _count(out.get("image_tokens")),
    )


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    """A count as it may be added up: what is no number, or below zero, counts for nothing."""
    if value.__class__ is int and 0 < value < _LIMIT:  # nearly always
        return value
    return int(value) if isinstance(value, int | float) and 0 < value < _LIMIT else 0


def _whole(seconds: float | None) -> int:
    """Seconds as they are paid for: begun ones count."""
    return ceil(seconds) if seconds is not None and 0 < seconds < _LIMIT else 0
