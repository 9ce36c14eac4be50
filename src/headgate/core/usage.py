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


UNKNOWN_USAGE = Usage()
