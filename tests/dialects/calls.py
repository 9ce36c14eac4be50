"""Makes calls for dialects as the gate would: through the door's own checks."""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core.body import open_body
from headgate.core.chat import ChatRequest
from headgate.core.embedding import EmbeddingRequest
from headgate.core.ports import Call
from headgate.endpoints import CHAT_COMPLETIONS, EMBEDDINGS


def chat_call(body: dict[str, Any] | bytes, upstream_model: str = "m") -> Call:
    """A checked chat request for the model `upstream_model`, its pictures at hand."""
    if isinstance(body, dict):
        body = {"model": "asked-for", "messages": [{"role": "user", "content": "hi"}], **body}
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    request, fields = open_body(data, ChatRequest)
    options = request.stream_options
    wants_usage = options is not None and options.include_usage is True
    return Call(
        CHAT_COMPLETIONS,
        request,
        fields,
        request.stream is True,
        wants_usage,
        upstream_model,
        pictures_at_hand=True,
    )


def embedding_call(body: dict[str, Any] | bytes, upstream_model: str = "m") -> Call:
    """A checked request for vectors of the model `upstream_model`."""
    if isinstance(body, dict):
        body = {"model": "asked-for", "input": "hi", **body}
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    request, fields = open_body(data, EmbeddingRequest)
    return Call(EMBEDDINGS, request, fields, False, False, upstream_model)
