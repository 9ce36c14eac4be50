"""Bedrock's dialect: chat completions as Converse and back, with `bedrock_*.py`.

Source: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html. Only how a model is told to
think is judged by its name. Requests are signed where they are sent: that takes a clock and credentials.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.chat import ChatRequest
from headgate.core.cut import WholeBodyNeeded
from headgate.core.errors import ApiError
from headgate.core.ports import Call, Framing, Headers, Outgoing
from headgate.core.seeing import PicturesWanted, spots
from headgate.dialects.bedrock_error import upstream_error
from headgate.dialects.bedrock_frames import CONTENT_TYPE, FrameSplitter, load_parser
from headgate.dialects.bedrock_messages import write_conversation
from headgate.dialects.bedrock_parameters import write_parameters
from headgate.dialects.bedrock_reply import ReplyPlan
from headgate.dialects.bedrock_stream import Reply
from headgate.dialects.bedrock_tools import write_tools
from headgate.dialects.embedded import wrong_endpoint
from headgate.dialects.openai import bearer
from headgate.dialects.unsupported import Unsupported

FRAMES = Framing(CONTENT_TYPE, FrameSplitter)

_ACCEPT_FRAMES: Headers = ((b"accept", CONTENT_TYPE),)
_NOT_IN_A_PATH = re.compile(r"[^A-Za-z0-9._~-]+")


class Bedrock:
    """The dialect of Amazon Bedrock's Converse, for chat."""

    def __init__(self, *, drop_unsupported: bool = False) -> None:
        """Raises SettingsError where botocore, which reads the streams, is not installed."""
        load_parser()
        self._drop = drop_unsupported

    def credentials(self, key: str) -> Headers:
        """The header that carries a Bedrock API key; access keys do not travel, they sign."""
        return bearer(key)

    def request(self, call: Call) -> Outgoing:
        """A chat request for Converse; raises InvalidField for what cannot be said there."""
        request = call.request
        if not isinstance(request, ChatRequest):
            raise wrong_endpoint(call)
        if request.n is not None and request.n > 1:
            raise violation.wrong_value("n", "Invalid value for 'n': this model makes one choice at a time.")
        unsupported = Unsupported(drop=self._drop)
        conversation = write_conversation(_messages(call, request), unsupported)
        body: dict[str, Any] = {"messages": conversation.messages}
        if conversation.system:
            body["system"] = conversation.system
        write_parameters(body, call, request, unsupported)
        offer = write_tools(body, call, request, conversation.called, unsupported)
        encoded = msgspec.json.encode(body)
        plan = ReplyPlan(
            _reply_id(call, encoded), call.created_s, call.upstream_model, offer.legacy, offer.answer_tool
        )
        verb = "converse-stream" if call.stream else "converse"
        return Outgoing(
            f"/model/{_in_path(call.upstream_model)}/{verb}",
            encoded,
            _ACCEPT_FRAMES if call.stream else (),
            translator=Reply(plan),
            dropped=unsupported.dropped,
            framing=FRAMES if call.stream else None,
        )

    def error(self, status: int, headers: Headers, body: bytes) -> ApiError:
        """An error reply of Bedrock's; see `bedrock_error`."""
        return upstream_error(status, headers, body)


def _messages(call: Call, request: ChatRequest) -> bytes:
    """The conversation, with its pictures at hand: Converse fetches none.

    Raises PicturesWanted, or WholeBodyNeeded, to be asked again when they have been brought.
    """
    raw = call.fields["messages"]
    if not call.pictures_at_hand:
        if any(spot.url.startswith("https://") for spot in spots(request)):
            raise WholeBodyNeeded if call.abridged else PicturesWanted
        return raw
    # What was brought stands in the typed request, which knows OpenAI's own fields only.
    brought = iter(spots(request))
    messages = msgspec.json.decode(raw, type=list[dict[str, Any]])
    for message in messages:
        parts = message.get("content")
        for part in parts if isinstance(parts, list) else ():
            if part["type"] == "image_url":
                part["image_url"]["url"] = next(brought).url
    return msgspec.json.encode(messages)


def _reply_id(call: Call, body: bytes) -> str:
    """Made of the request's own id; where it has none, of what was asked and when."""
    if call.request_id:
        return f"chatcmpl-{call.request_id}"
    return "chatcmpl-" + blake2b(b"%d %b" % (call.created_s, body), digest_size=12).hexdigest()


def _in_path(model: str) -> str:
    """A model's name is part of the path: nothing in it may lead elsewhere."""
    if model in (".", ".."):
        raise violation.wrong_value("model")
    return _NOT_IN_A_PATH.sub(_escape, model)


def _escape(found: re.Match[str]) -> str:
    """As botocore does it: an ARN's colons and slashes too."""
    return "".join([f"%{byte:02X}" for byte in found[0].encode()])
