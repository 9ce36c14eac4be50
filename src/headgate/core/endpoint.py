"""What one row of the endpoint table says. Must not know who handles it."""

from __future__ import annotations

import msgspec


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One thing we serve; routes, scopes, checks and documents are derived from it."""

    name: str
    """Stable name in journals, scopes and metrics, such as `chat.completions`."""
    method: str
    path: str
    """Path below the root, such as `/v1/chat/completions`; `{id}` at the end takes the rest, slashes too."""
    scope: str
    """What a key needs to call it."""
    summary: str
    capability: str | None = None
    """What a model needs to serve it (`chat`, `embeddings` ...); None where no model is involved."""
    request: type[msgspec.Struct] | None = None
    """Known fields with types and ranges; None where there is no body."""
    body_limit_bytes: int = 0
    """Largest request body."""
    streams: bool = False
    """Whether `stream: true` is understood."""
