"""What dialects that translate embeddings share: texts out of a request, vectors in OpenAI's form.

Must not know whose vectors they are.
"""

from __future__ import annotations

from base64 import b64encode
from struct import pack
from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.embedding import EmbeddingRequest
from headgate.core.estimate import estimate_tokens
from headgate.core.ports import Call

_encode = msgspec.json.Encoder().encode
_floats = msgspec.json.Decoder(list[float]).decode


class Vectors(msgspec.Struct, frozen=True):
    """What a request wants of its reply."""

    model: str
    packed: bool
    """As base64 of 32-bit floats, little end first, which the official SDKs ask for unasked."""
    estimated_tokens: int
    """About how many tokens the texts are, for an upstream that does not count them."""


def wanted(call: Call, request: EmbeddingRequest, texts: list[str]) -> Vectors:
    """What this request wants."""
    estimated = sum(estimate_tokens(text) for text in texts)
    return Vectors(call.upstream_model, request.encoding_format == "base64", estimated)


def read_texts(request: EmbeddingRequest) -> list[str]:
    """The texts to embed; raises InvalidField for tokens, which only their own model could read."""
    texts: list[str] = []
    for index, given in enumerate(request.inputs()):
        if not isinstance(given, str):
            param = "input" if isinstance(request.input, str) else f"input[{index}]"
            raise violation.wrong_value(param, f"Invalid '{param}': this model takes texts, not tokens.")
        texts.append(given)
    return texts


def written(plan: Vectors, vectors: list[msgspec.Raw], tokens: int | None) -> bytes:
    """OpenAI's reply; `tokens` None says that the upstream did not count, and the reply says so too."""
    reply: dict[str, Any] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _packed(raw) if plan.packed else raw}
            for index, raw in enumerate(vectors)
        ],
        "model": plan.model,
    }
    counted = plan.estimated_tokens if tokens is None else tokens
    reply["usage"] = {"prompt_tokens": counted, "total_tokens": counted}
    if tokens is None:
        reply["usage"]["estimated"] = True
    return _encode(reply)


def _packed(vector: msgspec.Raw) -> str:
    numbers = _floats(vector)
    return b64encode(pack(f"<{len(numbers)}f", *numbers)).decode()
