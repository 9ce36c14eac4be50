"""Gemini's dialect: chat completions as generateContent and back, with `gemini_*.py`.

Source: ai.google.dev/api/generate-content (v1beta). Only two things are judged by a model's name: how models
before Gemini 3 are told to think, and that they do not insist on signatures. docs/dialects.md tells the rest.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.chat import ChatRequest
from headgate.core.errors import ApiError, BadRequest
from headgate.core.ports import Call, Headers, Outgoing
from headgate.dialects.gemini_error import upstream_error
from headgate.dialects.gemini_messages import write_conversation
from headgate.dialects.gemini_parameters import write_parameters
from headgate.dialects.gemini_reply import ReplyPlan
from headgate.dialects.gemini_stream import Reply
from headgate.dialects.gemini_tools import read_offer, write_answer_form
from headgate.dialects.unsupported import Unsupported

_BEFORE_3 = re.compile(r"(?:^|/)gemini-[12]\b")
_NOT_IN_A_PATH = re.compile(r"[^A-Za-z0-9._~/-]+")
_KNOWN = frozenset(field.encode_name for field in msgspec.structs.fields(ChatRequest))
_MERGED = ("generationConfig", "toolConfig")
"""Objects of Gemini's own that a client may send along: ours are laid over them, member by member."""


class Gemini:
    """The dialect of Gemini's generateContent, for chat."""

    def __init__(self, *, drop_unsupported: bool = False) -> None:
        self._drop = drop_unsupported

    def credentials(self, key: str) -> Headers:
        """The header that carries the key."""
        return ((b"x-goog-api-key", key.encode()),)

    def request(self, call: Call) -> Outgoing:
        """A chat request for generateContent; raises InvalidField for what cannot be said there."""
        request = call.request
        if not isinstance(request, ChatRequest):
            raise BadRequest(f"This model does not serve {call.endpoint.path}.")
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
        for name, value in call.fields.items():
            # Fields that OpenAI does not have are Gemini's own: `safetySettings`, `cachedContent`, ...
            if name not in _KNOWN and name not in _MERGED and bytes(value) != b"null":
                if name in body:
                    unsupported.hint(name)
                else:
                    body[name] = value
        plan = ReplyPlan(call.created_s, call.upstream_model, offer.legacy)
        return Outgoing(
            _path(call.upstream_model, stream=call.stream),
            msgspec.json.encode(body),
            translator=Reply(plan),
            dropped=unsupported.dropped,
        )

    def error(self, status: int, headers: Headers, body: bytes) -> ApiError:
        """An error reply of Gemini's; see `gemini_error`."""
        return upstream_error(status, headers, body)


def _path(model: str, *, stream: bool) -> str:
    """A model's name is part of the path: nothing in it may lead elsewhere."""
    resource = model if "/" in model else f"models/{model}"
    if any(step in ("", ".", "..") for step in resource.split("/")):
        raise violation.wrong_value("model")
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/{_NOT_IN_A_PATH.sub(_escape, resource)}:{verb}"


def _escape(found: re.Match[str]) -> str:
    return "".join([f"%{byte:02X}" for byte in found[0].encode()])


def _own(call: Call, name: str) -> dict[str, Any]:
    """An object of Gemini's own that the client sent along."""
    given = call.fields.get(name)
    if given is None or bytes(given) == b"null":
        return {}
    try:
        return dict(msgspec.json.decode(given, type=dict[str, msgspec.Raw]))
    except msgspec.ValidationError:
        raise violation.wrong_value(name, f"Invalid value for '{name}': expected an object.") from None
