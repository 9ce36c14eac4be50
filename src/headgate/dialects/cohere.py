"""Cohere's dialect: chat completions as v2 chat and back, embeddings as v2 embed, with `cohere_*.py`.

Source: docs.cohere.com/v2/reference/chat and .../embed. Nothing is judged by a model's name.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.body import splice
from headgate.core.chat import ChatRequest
from headgate.core.embedding import EmbeddingRequest
from headgate.core.errors import ApiError
from headgate.core.passing import RerankRequest
from headgate.core.ports import Call, Headers, Outgoing
from headgate.dialects.cohere_embed import embed
from headgate.dialects.cohere_error import upstream_error
from headgate.dialects.cohere_messages import write_messages
from headgate.dialects.cohere_parameters import write_parameters
from headgate.dialects.cohere_reply import ReplyPlan
from headgate.dialects.cohere_stream import Reply
from headgate.dialects.cohere_tools import write_tools
from headgate.dialects.embedded import wrong_endpoint
from headgate.dialects.openai import bearer
from headgate.dialects.unsupported import Unsupported

_KNOWN = frozenset(field.encode_name for field in msgspec.structs.fields(ChatRequest))


class Cohere:
    """The dialect of Cohere's v2 API, for chat and embeddings."""

    def __init__(self, *, drop_unsupported: bool = False) -> None:
        self._drop = drop_unsupported

    def credentials(self, key: str) -> Headers:
        """The header that carries the key."""
        return bearer(key)

    def request(self, call: Call) -> Outgoing:
        """A request in Cohere's words; raises InvalidField for what cannot be said there."""
        request = call.request
        if isinstance(request, EmbeddingRequest):
            return embed(call, request, Unsupported(drop=self._drop))
        if isinstance(request, RerankRequest):
            # The row is Cohere's own format.
            return Outgoing("/rerank", splice(call.fields, model=call.upstream_model))
        if not isinstance(request, ChatRequest):
            raise wrong_endpoint(call)
        if request.n is not None and request.n > 1:
            raise violation.wrong_value("n", "Invalid value for 'n': this model makes one choice at a time.")
        unsupported = Unsupported(drop=self._drop)
        body: dict[str, Any] = {
            "model": call.upstream_model,
            "messages": write_messages(call.fields["messages"], unsupported),
        }
        write_parameters(body, call, request, unsupported)
        offer = write_tools(body, call, request, unsupported)
        # Not every server that speaks this streams only when it is told to.
        body["stream"] = call.stream
        for name, value in call.fields.items():
            # Fields that OpenAI does not have are Cohere's own: `documents`, `safety_mode`, `k`, ...
            if name not in _KNOWN and bytes(value) != b"null":
                if name in body and name not in ("thinking", "strict_tools"):
                    unsupported.hint(name)
                else:
                    body[name] = value
        plan = ReplyPlan(call.created_s, call.upstream_model, offer.legacy, offer.answer_tool)
        return Outgoing(
            "/chat", msgspec.json.encode(body), translator=Reply(plan), dropped=unsupported.dropped
        )

    def error(self, status: int, headers: Headers, body: bytes) -> ApiError:
        """An error reply of Cohere's; see `cohere_error`."""
        return upstream_error(status, headers, body)
