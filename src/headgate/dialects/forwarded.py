"""Headers of clients that are part of a format, and go along where it is spoken on."""

from __future__ import annotations

MESSAGES_HEADERS = (b"anthropic-version", b"anthropic-beta")
"""Which version of Messages a body is written in, and what of it is not in every account yet."""
