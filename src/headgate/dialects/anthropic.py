"""Anthropic's dialect: chat completions as Messages and back, with `anthropic_*.py`.

Source: platform.claude.com/docs/en/api/messages, in its version 2026-10-21. Other servers speak it too, so
nothing here judges by a model's name. docs/dialects.md tells what cannot be translated.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.chat import ChatRequest
from headgate.core.errors import ApiError
from headgate.core.passing import MessagesRequest
from headgate.core.ports import Call, Headers, Outgoing
from headgate.dialects.anthropic_error import upstream_error
from headgate.dialects.anthropic_messages import write_conversation
from headgate.dialects.anthropic_parameters import asks_to_think, write_parameters
from headgate.dialects.anthropic_reply import ReplyPlan
from headgate.dialects.anthropic_stream import Reply
from headgate.dialects.anthropic_tools import read_offer
from headgate.dialects.embedded import wrong_endpoint
from headgate.dialects.unsupported import Unsupported

VERSION = b"2026-10-21"
"""The API's newest version, which knows no sampling parameters: most models take none any more."""

VERSION_WITH_SAMPLING = b"2023-06-01"
"""The one before. An operator who configures it as a header gets `temperature` and `top_p` passed on."""

VERSION_HEADER = b"anthropic-version"

_KNOWN = frozenset(field.encode_name for field in msgspec.structs.fields(ChatRequest))


class Anthropic:
    """The dialect of Anthropic's Messages API and of what is compatible with it, for chat."""

    def __init__(self, *, drop_unsupported: bool = False, headers: Headers = ()) -> None:
        """`headers` are the operator's own for this upstream; a version among them is obeyed."""
        version = dict(headers).get(VERSION_HEADER)
        self._headers: Headers = () if version is not None else ((VERSION_HEADER, VERSION),)
        self._sampling = version == VERSION_WITH_SAMPLING
        self._drop = drop_unsupported

    def credentials(self, key: str) -> Headers:
        """The header that carries the key."""
        return ((b"x-api-key", key.encode()),)

    def request(self, call: Call) -> Outgoing:
        """A request in Anthropic's words; raises InvalidField for what cannot be said there."""
        request = call.request
        if isinstance(request, MessagesRequest):
            return self._pass(call)
        if not isinstance(request, ChatRequest):
            raise wrong_endpoint(call)
        return self._chat(call, request)

    def _chat(self, call: Call, request: ChatRequest) -> Outgoing:
        if request.n is not None and request.n > 1:
            raise violation.wrong_value("n", "Invalid value for 'n': this model makes one choice at a time.")
        unsupported = Unsupported(drop=self._drop)
        conversation = write_conversation(call.fields["messages"], unsupported)
        thinking = asks_to_think(call, request)
        offer = read_offer(call, request, conversation.called, thinking=thinking)
        body: dict[str, Any] = {"model": call.upstream_model}
        write_parameters(body, call, request, unsupported, sampling=self._sampling)
        if conversation.system:
            body["system"] = conversation.system
        body["messages"] = conversation.messages
        if offer.tools:
            body["tools"] = offer.tools
            if offer.choice is not None:
                body["tool_choice"] = offer.choice
        if offer.output_format is not None:
            body["output_config"] = {**body.get("output_config", {}), "format": offer.output_format}
        if call.stream:
            body["stream"] = True
        for name, value in call.fields.items():
            # Fields that OpenAI does not have are the maker's own: `thinking`, `cache_control`, `top_k`, ...
            if name not in _KNOWN and bytes(value) != b"null":
                if name not in body:
                    body[name] = value
                elif name not in ("output_config", "thinking"):
                    unsupported.hint(name)
        path, headers = self.place(body, call)
        plan = ReplyPlan(call.created_s, call.upstream_model, offer.legacy, offer.answer_tool)
        return Outgoing(
            path,
            msgspec.json.encode(body),
            headers,
            translator=Reply(plan),
            dropped=unsupported.dropped,
        )

    def _pass(self, call: Call) -> Outgoing:
        """A request in Anthropic's own format: bytes pass, with the client's version and its betas."""
        body: dict[str, Any] = {**call.fields, "model": call.upstream_model}
        path, headers = self.place(body, call)
        own = dict(headers)
        for name, value in call.headers:
            # The operator's version wins: its header is sent with every request.
            if name != VERSION_HEADER or VERSION_HEADER in own:
                own[name] = value
        return Outgoing(path, msgspec.json.encode(body), tuple(own.items()))

    def place(self, body: dict[str, Any], call: Call) -> tuple[str, Headers]:
        """Where the body goes, and the headers it goes with."""
        return "/messages", self._headers

    def error(self, status: int, headers: Headers, body: bytes) -> ApiError:
        """An error reply of Anthropic's; see `anthropic_error`."""
        return upstream_error(status, headers, body)
