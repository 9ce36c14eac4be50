"""How a server that speaks OpenAI's format departs from it, as data. Must not know whose server that is."""

from __future__ import annotations

from typing import Literal

import msgspec


class Quirks(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`quirks`: what has to be said differently there. Nothing, unless the server's documents say so."""

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The only name it has for the most tokens to answer with; a client may use either."""
    seed_field: Literal["random_seed"] | None = None
    """Its name for `seed`."""
    developer_role: Literal["system"] | None = None
    """The role that `developer` messages get, where that one is not known."""
    prefill: Literal["plain", "continue_final_message", "prefix", "partial"] | None = None
    """How it is asked to go on with a last message of the assistant: it does so by itself, by a field of the
    request of that name (and no `add_generation_prompt`), by a field of that name in the message."""
    no_stream_options: bool = False
    """It refuses `stream_options`. Most of these report usage in a stream unasked; else it is estimated."""


PLAIN = Quirks()
"""A server that speaks as OpenAI does."""
