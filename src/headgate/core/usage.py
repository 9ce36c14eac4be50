"""What a request used, as far as anyone can tell. Counting only; prices live elsewhere."""

from __future__ import annotations

from enum import IntEnum

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


_LIMIT = 2**63
"""Counts from here on cannot be recorded."""

UNKNOWN_USAGE = Usage()
REPORTED, ESTIMATED = Source.REPORTED, Source.ESTIMATED  # members of an enum are looked up slowly


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class UsageObject(msgspec.Struct, gc=False):
    """OpenAI's `usage`, as far as it is counted here."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    estimated: bool | None = None
    """Ours: a dialect counted where the upstream had not, for clients that need the object."""

    def counted(self) -> Usage:
        """As a record; a count that is absent is 0 here, for the upstream did speak."""
        cached = self.prompt_tokens_details
        reasoning = self.completion_tokens_details
        return Usage(
            ESTIMATED if self.estimated else REPORTED,
            _count(self.prompt_tokens),
            _count(cached.cached_tokens) if cached is not None else 0,
            _count(self.completion_tokens),
            _count(reasoning.reasoning_tokens) if reasoning is not None else 0,
        )


def odd_usage(raw: bytes) -> Usage | None:
    """The counts in a `usage` that bends OpenAI's types, as far as they can be read; None for no object."""
    found = msgspec.json.decode(raw)
    if not isinstance(found, dict):
        return None
    cached, reasoning = found.get("prompt_tokens_details"), found.get("completion_tokens_details")
    return Usage(
        Source.REPORTED,
        _count(found.get("prompt_tokens")),
        _count(cached.get("cached_tokens")) if isinstance(cached, dict) else 0,
        _count(found.get("completion_tokens")),
        _count(reasoning.get("reasoning_tokens")) if isinstance(reasoning, dict) else 0,
    )


def _count(value: object) -> int:
    """A count as it may be added up: what is no number, or below zero, counts for nothing."""
    if value.__class__ is int and 0 < value < _LIMIT:  # nearly always
        return value
    return int(value) if isinstance(value, int | float) and 0 < value < _LIMIT else 0
