"""Gemini's dialect: chat completions as generateContent and back, embeddings, with `gemini_*.py`.

Source: ai.google.dev/api/generate-content and .../embeddings (v1beta). Little is judged by a model's name:
how models before Gemini 3 are told to think, that they do not insist on signatures, and whether one draws.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.chat import ChatRequest
from headgate.core.embedding import EmbeddingRequest
from headgate.core.errors import ApiError
from headgate.core.ports import Call, Headers, Outgoing
from headgate.dialects.drawn import PICTURES
from headgate.dialects.embedded import wrong_endpoint
from headgate.dialects.gemini_embed import embed, model_path
from headgate.dialects.gemini_error import upstream_error
from headgate.dialects.gemini_messages import write_conversation
from headgate.dialects.gemini_parameters import write_parameters
from headgate.dialects.gemini_reply import ReplyPlan
from headgate.dialects.gemini_stream import Reply
from headgate.dialects.gemini_tools import read_offer, write_answer_form
from headgate.dialects.unsupported import Unsupported
from headgate.dialects.vertex import vertex_error, vertex_path

_BEFORE_3 = re.compile(r"(?:^|/)gemini-[12]\b")
_KNOWN = frozenset(field.encode_name for field in msgspec.structs.fields(ChatRequest))
_MERGED = ("generationConfig", "toolConfig")
"""Objects of Gemini's own that a client may send along: ours are laid over them, member by member."""


class Gemini:
    """The dialect of Gemini's generateContent and embedContent, for chat and embeddings."""

    def __init__(self, *, drop_unsupported: bool = False, on_vertex: bool = False) -> None:
        """`on_vertex` tells that the models are at Google's cloud: the same bodies, at other paths."""
        self._drop = drop_unsupported
        self._on_vertex = on_vertex

    def credentials(self, key: str) -> Headers:
        """The header that carries the key."""
        return ((b"x-goog-api-key", key.encode()),)

    def request(self, call: Call) -> Outgoing:
        """A request in Gemini's words; raises InvalidField for what cannot be said there."""
        request = call.request
        if isinstance(request, EmbeddingRequest):
            return embed(call, request, Unsupported(drop=self._drop), on_vertex=self._on_vertex)
        if not isinstance(request, ChatRequest):
            raise wrong_endpoint(call)
        return self._chat(call, request)

    def _chat(self, call: Call, request: ChatRequest) -> Outgoing:
        before_3 = _BEFORE_3.search(call.upstream_model) is not None
        unsupported = Unsupported(drop=self._drop)
        conversation = write_conversation(call.fields["messages"], unsupported, signed=not before_3)
        offer = read_offer(call, request, unsupported)
        body: dict[str, Any] = {}
        if conversation.system:
            body["systemInstruction"] = {"parts": conversation.system}
        body["contents"] = conversation.contents
        if offer.tools:
            body["tools"] = offer.tools
        config = _own(call, "generationConfig")
        write_parameters(body, config, call, request, unsupported, before_3=before_3)
        write_answer_form(config, call, request)
        tool_config = _own(call, "toolConfig")
        if offer.calling is not None:
            tool_config["functionCallingConfig"] = offer.calling
        if tool_config:
            body["toolConfig"] = tool_config
        if config:
            body["generationConfig"] = config
        _own_fields(body, call, unsupported)
        if self._on_vertex and body.pop("store", None):
            unsupported.parameter("store")
        plan = ReplyPlan(call.created_s, call.upstream_model, offer.legacy, call.host)
        return Outgoing(
            self._path(call),
            msgspec.json.encode(body),
            translator=Reply(plan),
            dropped=unsupported.dropped,
            framing=PICTURES if call.stream and _draws(call, request) else None,
        )

    def _path(self, call: Call) -> str:
        verb = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
        if self._on_vertex:
            return vertex_path("google", call.upstream_model, verb)
        return model_path(call.upstream_model, verb)

    def error(self, status: int, headers: Headers, body: bytes) -> ApiError:
        """An error reply of Gemini's; see `gemini_error`."""
        if self._on_vertex:
            return vertex_error(status, headers, body)
        return upstream_error(status, headers, body)


def _own_fields(body: dict[str, Any], call: Call, unsupported: Unsupported) -> None:
    """Fields that OpenAI does not have are Gemini's own: `safetySettings`, `cachedContent`, ..."""
    for name, value in call.fields.items():
        if name not in _KNOWN and name not in _MERGED and bytes(value) != b"null":
            if name in body:
                unsupported.hint(name)
            else:
                body[name] = value


def _draws(call: Call, request: ChatRequest) -> bool:
    """Whether pictures may come, which are long events: they were asked for, or the model is one for them."""
    return "image" in (request.modalities or ()) or "image" in call.upstream_model


def _own(call: Call, name: str) -> dict[str, Any]:
    """An object of Gemini's own that the client sent along."""
    given = call.fields.get(name)
    if given is None or bytes(given) == b"null":
        return {}
    try:
        return dict(msgspec.json.decode(given, type=dict[str, msgspec.Raw]))
    except msgspec.ValidationError:
        raise violation.wrong_value(name, f"Invalid value for '{name}': expected an object.") from None
