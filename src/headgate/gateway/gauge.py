"""Gauges a request before it is routed: what it needs, how long it is, which conversation it belongs to.

Asked only for models whose targets differ in that: most requests go where they go without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from headgate.core.message import Message
from headgate.core.settings_routing import Routing
from headgate.gateway.choose import Facts

BYTES_PER_TOKEN_AT_MOST = 6
"""English prose as JSON has about four bytes to a token: at six, nobody is sent away who would have fit."""

CONVERSATION_BYTES = 16
"""Of the hash that stands for a conversation; two of them meet by chance once in an age."""


def gauge(
    request: Any, fields: Mapping[str, msgspec.Raw], body_bytes: int, key_id: str, rules: Routing
) -> Facts:
    """What is to be known of a checked request; fields that its endpoint does not have count as not given."""
    said = bytes(fields.get("messages", b""))
    vision = b'"image_url"' in said
    wished = getattr(request, "max_completion_tokens", None) or getattr(request, "max_tokens", None) or 0
    wanted_format = getattr(request, "response_format", None)
    return Facts(
        vision=vision,
        tools=bool(getattr(request, "tools", None) or getattr(request, "functions", None)),
        json_schema=getattr(wanted_format, "type", None) == "json_schema",
        draws="image" in (getattr(request, "modalities", None) or ()),
        # A picture's bytes say nothing of its tokens.
        tokens=wished + (0 if vision else body_bytes // BYTES_PER_TOKEN_AT_MOST),
        conversation=_conversation(request, key_id) if rules.sticky == "conversation" else b"",
    )


def _conversation(request: Any, key_id: str) -> bytes:
    """A hash that stays the same while a conversation grows."""
    digest = blake2b(key_id.encode(), digest_size=CONVERSATION_BYTES)
    named = getattr(request, "prompt_cache_key", None)
    if named:
        digest.update(b"\0" + named.encode())
        return digest.digest()
    messages = getattr(request, "messages", None)
    # Up to the user's first words: what stands before them is the same for all of an application's users.
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, Message):
            digest.update(bytes(message))  # another format's, which nobody has read
            break
        digest.update(f"\0{message.role}\0{_words(message.content)}".encode())
        if message.role == "user":
            break
    return digest.digest()


def _words(content: Any) -> str:
    """The text of a message. A picture's bytes are left out: of heavy requests, they are not at hand."""
    if isinstance(content, str):
        return content
    return "\0".join([part.text or part.type for part in content or ()])
