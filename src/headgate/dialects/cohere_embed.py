"""Embeddings as Cohere's v2 embed and back. Source: docs.cohere.com/v2/reference/embed."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from headgate.core import violation
from headgate.core.embedding import EmbeddingRequest
from headgate.core.errors import UpstreamFailed
from headgate.core.ports import Call, Outgoing
from headgate.dialects.cohere_reply import Tokens
from headgate.dialects.unsupported import Unsupported
from headgate.dialects.vectors import Vectors, read_texts, wanted, written

MOST_TEXTS = 96
"""What the document says of one request."""

USUAL_PURPOSE = "search_document"
"""`input_type` is required there, and OpenAI's format has no word for it: what most vectors are made for."""

_KNOWN = frozenset(field.encode_name for field in msgspec.structs.fields(EmbeddingRequest))


class _Embeddings(Struct):
    float: list[msgspec.Raw] | None = None


class _Meta(Struct):
    billed_units: Tokens | None = None
    tokens: Tokens | None = None


class _Reply(Struct):
    embeddings: _Embeddings
    meta: _Meta | None = None


_reply = msgspec.json.Decoder(_Reply).decode


def embed(call: Call, request: EmbeddingRequest, unsupported: Unsupported) -> Outgoing:
    """The request as an embed request; raises InvalidField for what cannot be said there."""
    texts = read_texts(request)
    if len(texts) > MOST_TEXTS:
        raise violation.array_too_long("input", MOST_TEXTS, len(texts))
    body: dict[str, Any] = {
        "model": call.upstream_model,
        "texts": texts,
        "input_type": USUAL_PURPOSE,
        "embedding_types": ["float"],
    }
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    if request.user:
        unsupported.hint("user")
    for name, value in call.fields.items():
        # Fields that OpenAI does not have are Cohere's own: `input_type`, `truncate`, ...
        if name not in _KNOWN and bytes(value) != b"null":
            if name in body and name != "input_type":
                unsupported.hint(name)
            else:
                body[name] = value
    translator = Reply(wanted(call, request, texts))
    return Outgoing("/embed", msgspec.json.encode(body), translator=translator, dropped=unsupported.dropped)


class Reply:
    """Translates one reply; implements `headgate.core.ports.Translator`, of which only `whole` is called."""

    def __init__(self, plan: Vectors) -> None:
        self._plan = plan

    def whole(self, body: bytes) -> bytes:
        """The vectors in OpenAI's form; raises msgspec.DecodeError, or UpstreamFailed for none."""
        reply = _reply(body)
        vectors = reply.embeddings.float
        if vectors is None:
            raise UpstreamFailed("The upstream's reply has no vectors.")
        counted = None
        if reply.meta is not None:
            counted = reply.meta.tokens or reply.meta.billed_units
        tokens = None if counted is None or counted.input_tokens is None else int(counted.input_tokens)
        return written(self._plan, vectors, tokens)

    def event(self, event: bytes) -> bytes:
        """Nothing: vectors do not come in streams."""
        return b""

    def end(self) -> bytes:
        """Nothing, for the same reason."""
        return b""
