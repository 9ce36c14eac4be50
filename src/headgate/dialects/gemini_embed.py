"""Embeddings as Gemini's embedContent and batchEmbedContents, on Vertex as predict, and back.

Sources: ai.google.dev/api/embeddings and docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/
text-embeddings-api.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct, field

from headgate.core import violation
from headgate.core.embedding import EmbeddingRequest
from headgate.core.errors import UpstreamFailed
from headgate.core.ports import Call, Outgoing
from headgate.dialects.unsupported import Unsupported
from headgate.dialects.vectors import Vectors, read_texts, wanted, written
from headgate.dialects.vertex import vertex_path

MOST_TEXTS = 100
"""What a batch may hold."""

MOST_PREDICTIONS = 250
"""The same on Vertex, where a model may take fewer: then it says so itself."""

BY_CONTENT = re.compile(r"gemini|maas")
"""Models that Vertex knows by `embedContent`, one text at a time; others have `predict`. As Google's SDK has
it: its documents name models, not the rule."""

_NOT_IN_A_PATH = re.compile(r"[^A-Za-z0-9._~/-]+")
_KNOWN = frozenset(field.encode_name for field in msgspec.structs.fields(EmbeddingRequest))


class _Statistics(Struct):
    token_count: float | None = None


class _Values(Struct):
    values: msgspec.Raw
    statistics: _Statistics | None = None


class _Prediction(Struct):
    embeddings: _Values


class _Usage(Struct, rename="camel"):
    prompt_token_count: int | None = None


class _Reply(Struct, rename="camel"):
    embedding: _Values | None = None
    embeddings: list[_Values] = field(default_factory=list)
    predictions: list[_Prediction] = field(default_factory=list)
    usage_metadata: _Usage | None = None


_reply = msgspec.json.Decoder(_Reply).decode


def model_path(model: str, verb: str) -> str:
    """A model's name is part of the path: nothing in it may lead elsewhere."""
    return f"/{_NOT_IN_A_PATH.sub(_escape, model_resource(model))}:{verb}"


def model_resource(model: str) -> str:
    """What Gemini's API calls a model; raises InvalidField for a name that is none."""
    resource = model if "/" in model else f"models/{model}"
    if any(step in ("", ".", "..") for step in resource.split("/")):
        raise violation.wrong_value("model")
    return resource


def _escape(found: re.Match[str]) -> str:
    return "".join([f"%{byte:02X}" for byte in found[0].encode()])


def embed(call: Call, request: EmbeddingRequest, unsupported: Unsupported, *, on_vertex: bool) -> Outgoing:
    """The request in Gemini's words; raises InvalidField for what cannot be said there."""
    texts = read_texts(request)
    if request.user:
        unsupported.hint("user")
    # Fields that OpenAI does not have are Gemini's own: `taskType`, `title`, ...
    own = {
        name: value for name, value in call.fields.items() if name not in _KNOWN and bytes(value) != b"null"
    }
    model = call.upstream_model
    if request.dimensions is not None:
        own["outputDimensionality"] = call.fields["dimensions"]
    if on_vertex and BY_CONTENT.search(model):
        _at_most(texts, 1)
        path, body = vertex_path("google", model, "embedContent"), {"content": _content(texts[0]), **own}
    elif on_vertex:
        _at_most(texts, MOST_PREDICTIONS)
        path, body = vertex_path("google", model, "predict"), _predict(texts, own)
    elif len(texts) == 1:
        path, body = model_path(model, "embedContent"), {"content": _content(texts[0]), **own}
    else:
        _at_most(texts, MOST_TEXTS)
        resource = model_resource(model)
        each = [{"model": resource, "content": _content(text), **own} for text in texts]
        path, body = model_path(model, "batchEmbedContents"), {"requests": each}
    return Outgoing(
        path,
        msgspec.json.encode(body),
        translator=Reply(wanted(call, request, texts)),
        dropped=unsupported.dropped,
    )


def _at_most(texts: list[str], most: int) -> None:
    if len(texts) > most:
        raise violation.array_too_long("input", most, len(texts))


def _content(text: str) -> dict[str, Any]:
    return {"parts": [{"text": text}]}


def _predict(texts: list[str], own: dict[str, msgspec.Raw]) -> dict[str, Any]:
    """Vertex's older form, where a text's own fields are spelled another way."""
    instance = {"task_type": own.pop("taskType", None), "title": own.pop("title", None)}
    told = {name: value for name, value in instance.items() if value is not None}
    body: dict[str, Any] = {"instances": [{"content": text, **told} for text in texts]}
    if own:
        body["parameters"] = own
    return body


class Reply:
    """Translates one reply; implements `headgate.core.ports.Translator`, of which only `whole` is called."""

    def __init__(self, plan: Vectors) -> None:
        self._plan = plan

    def whole(self, body: bytes) -> bytes:
        """The vectors in OpenAI's form; raises msgspec.DecodeError, or UpstreamFailed for none."""
        reply = _reply(body)
        found = reply.embeddings or [prediction.embeddings for prediction in reply.predictions]
        if reply.embedding is not None:
            found = [reply.embedding]
        if not found:
            raise UpstreamFailed("The upstream's reply has no vectors.")
        tokens = reply.usage_metadata.prompt_token_count if reply.usage_metadata is not None else None
        counts = [one.statistics.token_count for one in found if one.statistics is not None]
        if tokens is None and len(counts) == len(found):
            tokens = int(sum(count or 0 for count in counts))
        return written(self._plan, [one.values for one in found], tokens)

    def event(self, event: bytes) -> bytes:
        """Nothing: vectors do not come in streams."""
        return b""

    def end(self) -> bytes:
        """Nothing, for the same reason."""
        return b""
