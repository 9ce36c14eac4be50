"""The wire formats by the names they have in the configuration."""

from __future__ import annotations

from headgate.core.ports import Dialect, Headers
from headgate.core.quirks import PLAIN, Quirks
from headgate.dialects.anthropic import Anthropic
from headgate.dialects.gemini import Gemini
from headgate.dialects.llamacpp import LlamaCpp
from headgate.dialects.openai import OpenAI
from headgate.dialects.quirks import DepartingOpenAI


def make_dialect(
    name: str, *, headers: Headers = (), drop_unsupported: bool = False, quirks: Quirks = PLAIN
) -> Dialect:
    """The dialect of a remote upstream; `headers` are what the operator has sent along with every request."""
    match name:
        case "openai":
            return OpenAI() if quirks == PLAIN else DepartingOpenAI(quirks)
        case "llamacpp":
            return LlamaCpp()
        case "anthropic":
            return Anthropic(drop_unsupported=drop_unsupported, headers=headers)
        case "gemini":
            return Gemini(drop_unsupported=drop_unsupported)
    raise ValueError(name)
