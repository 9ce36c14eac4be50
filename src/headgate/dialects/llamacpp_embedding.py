"""Embeddings as llama.cpp makes them: without `dimensions`, and what is too long is its own fault there."""

from __future__ import annotations

import base64
import math
import re
from array import array
from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.embedding import EmbeddingRequest
from headgate.core.errors import InvalidField, UpstreamFailed
from headgate.core.ports import Call, Outgoing

_TOO_LONG = re.compile(r"input \((?P<tokens>\d+) tokens\).*batch size: (?P<bound>\d+)", re.DOTALL)


class _Vector(msgspec.Struct):
    embedding: str
    index: int = 0


class _Received(msgspec.Struct):
    data: list[_Vector]
    model: str = ""
    usage: msgspec.Raw = msgspec.Raw(b"null")


_decode = msgspec.json.Decoder(_Received).decode


def write_embedding(call: Call, request: EmbeddingRequest, length: int) -> Outgoing:
    """A request for `/embeddings`; raises InvalidField for what it cannot do."""
    wanted = request.encoding_format or "float"
    if wanted not in ("float", "base64"):
        raise violation.wrong_value(
            "encoding_format",
            f"Invalid value: '{violation.quote(wanted)}'. Supported values are: 'float' and 'base64'.",
        )
    if request.dimensions is not None and request.dimensions > length:
        raise violation.above_maximum("dimensions", "integer", length, str(request.dimensions))
    body: dict[str, Any] = {
        "model": call.upstream_model,
        "input": call.fields["input"],
        "encoding_format": "base64",
    }
    translator = EmbeddingReply(request.dimensions or length, packed=wanted == "base64")
    return Outgoing("/embeddings", msgspec.json.encode(body), translator=translator)


def too_long_input(message: str) -> InvalidField:
    """The error for a text that does not fit into one batch."""
    found = _TOO_LONG.search(message)
    tokens, bound = (int(found["tokens"]), int(found["bound"])) if found else (0, 0)
    return violation.context_too_long("input", bound, tokens)


class EmbeddingReply:
    """Cuts vectors and writes them as they were wanted; implements `headgate.core.ports.Translator`."""

    def __init__(self, length: int, *, packed: bool) -> None:
        self._length = length
        self._packed = packed

    def whole(self, body: bytes) -> bytes:
        """A whole reply; raises UpstreamFailed when it is none."""
        try:
            received = _decode(body)
            data = [
                {"object": "embedding", "index": one.index, "embedding": self._written(one.embedding)}
                for one in received.data
            ]
        except (msgspec.DecodeError, ValueError):
            raise UpstreamFailed("The model's reply holds no vectors.") from None
        told = {"object": "list", "data": data, "model": received.model, "usage": received.usage}
        return msgspec.json.encode(told)

    def event(self, event: bytes) -> bytes:
        """Nobody streams these."""
        return event

    def end(self) -> bytes:
        return b""

    def _written(self, text: str) -> str | list[float]:
        raw = base64.b64decode(text, validate=True)
        if self._packed and self._length * 4 >= len(raw):
            return text
        values = array("f", raw)  # little-endian, as is every machine that llama.cpp is packaged for
        if self._length < len(values):
            values = values[: self._length]
            size = math.sqrt(math.fsum(value * value for value in values)) or 1.0
            values = array("f", [value / size for value in values])
        return base64.b64encode(values.tobytes()).decode() if self._packed else values.tolist()
