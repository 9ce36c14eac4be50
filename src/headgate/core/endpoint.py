"""What one row of the endpoint table says. Must not know who handles it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from headgate.core.errors import ApiError


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
    uploads: Mapping[str, int] = {}
    """Fields that hold files, and how many each: the request is a form then (multipart/form-data)."""
    binary: bool = False
    """Whether replies need not be JSON: they are passed on as they come, with their own content-type."""
    streams: bool = False
    """Whether `stream: true` is understood."""
    typed_events: bool = False
    """Its streams are events that tell their own type: no usage to ask for, no `[DONE]` at the end."""
    error_body: Callable[[ApiError], bytes] | None = None
    """How its clients want errors; None is OpenAI's shape."""
    error_event: Callable[[ApiError], bytes] | None = None
    """The same for the data of an error in its streams."""
    key_header: bytes | None = None
    """A header that may carry the key in place of `authorization`."""
    forwards: tuple[bytes, ...] = ()
    """Request headers that belong to its format and go to upstreams that speak it."""
