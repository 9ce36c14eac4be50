"""Models that draw at /images only, asked in chat as well: conversations become images requests, and back.

For our own image engines, and for others that speak OpenAI's images endpoints. Must not know how pictures are
drawn, nor where they are kept.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.chat import ChatRequest
from headgate.core.cut import WholeBodyNeeded
from headgate.core.errors import InvalidField
from headgate.core.message import Message
from headgate.core.ports import Call, Outgoing
from headgate.core.seeing import PicturesWanted, has_pictures
from headgate.dialects.drawing_reply import ChatReply, Linked
from headgate.dialects.drawn import PICTURES
from headgate.dialects.embedded import Embedded
from headgate.dialects.unsupported import Unsupported

MOST_PICTURES = 16
"""In one edit (OpenAI's document)."""

PARTIALS = 2
"""Partial pictures that are asked for while a client streams: signs of life, which it sees as comments."""

PASSED_ON = (
    "size",
    "quality",
    "style",
    "background",
    "output_format",
    "output_compression",
    "input_fidelity",
)
"""Fields of an images request that are heard in chat too, where clients put them beside `messages`."""

WORDLESS = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "presence_penalty",
            "frequency_penalty", "logit_bias", "reasoning_effort", "verbosity", "parallel_tool_calls",
            "tool_choice", "function_call")  # fmt: skip
"""What steers words, of which there will be none: left out, and reported."""

IMPOSSIBLE = ("tools", "functions", "logprobs", "audio", "prediction", "web_search_options")
"""What an answer would be wrong without."""

BASE64_ALWAYS = ("gpt-image", "chatgpt-image")
"""Models that answer in base64 whatever is asked (OpenAI's document); others in links, unless asked."""


class Drawing(Embedded):
    """The dialect of an engine that draws."""

    def __init__(self) -> None:
        super().__init__(("images",))

    def request(self, call: Call) -> Outgoing:
        """An images request as it is, or made of a conversation; raises InvalidField."""
        if not call.pictures_at_hand and has_pictures(call.request):
            raise WholeBodyNeeded if call.abridged else PicturesWanted
        if isinstance(call.request, ChatRequest):
            return _from_chat(call, call.request)
        if not call.stream and call.fields and "response_format" not in call.fields:
            form = b'"b64_json"' if call.model.startswith(BASE64_ALWAYS) else b'"url"'
            call.fields["response_format"] = msgspec.Raw(form)
        outgoing = super().request(call)
        outgoing.framing = PICTURES
        if not call.stream:
            outgoing.translator = Linked(call.host)
        return outgoing


def _from_chat(call: Call, request: ChatRequest) -> Outgoing:
    unsupported = Unsupported(drop=False)
    for name in IMPOSSIBLE:
        if getattr(request, name):
            unsupported.parameter(name)
    if request.response_format is not None and request.response_format.type != "text":
        unsupported.parameter("response_format")
    if request.modalities is not None and "image" not in request.modalities:
        raise violation.wrong_value(
            "modalities", "Invalid value for 'modalities': this model draws pictures."
        )
    for name in WORDLESS:
        if getattr(request, name) is not None:
            unsupported.hint(name)
    pictures = _pictures(request.messages)
    body: dict[str, Any] = {
        "model": call.upstream_model,
        "prompt": _prompt(request.messages),
        "n": request.n or 1,
        "response_format": "b64_json",
    }
    body |= {name: call.fields[name] for name in PASSED_ON if name in call.fields}
    for name in ("user", "seed"):
        if getattr(request, name) is not None:
            body[name] = getattr(request, name)
    if call.stream:
        # Events are base64 by nature, and nobody but us reads them.
        del body["response_format"]
        body |= {"stream": True, "partial_images": PARTIALS}
    if pictures:
        body.pop("response_format", None)
        body["images"] = [{"image_url": url} for url in pictures]
    return Outgoing(
        "/images/edits" if pictures else "/images/generations",
        msgspec.json.encode(body),
        translator=ChatReply(call.request_id, call.created_s, call.upstream_model, call.host),
        dropped=unsupported.dropped,
        framing=PICTURES,
    )


def _prompt(messages: list[Message]) -> str:
    """The words of the last message of the user; raises InvalidField when there are none."""
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if message.role == "user":
            words = _words(message).strip()
            if words:
                return words
            break
    else:
        index = len(messages) - 1
    raise InvalidField(
        f"Invalid 'messages[{index}].content': say in words what to draw.",
        param=f"messages[{index}].content",
        code="invalid_value",
    )


def _words(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.text for part in message.content or () if part.type == "text" and part.text)


def _pictures(messages: list[Message]) -> list[str]:
    """The pictures that are to be changed: those of the newest message that has any."""
    for index in range(len(messages) - 1, -1, -1):
        content = messages[index].content
        if isinstance(content, str) or content is None:
            continue
        found = [
            part.image_url.url for part in content if part.type == "image_url" and part.image_url is not None
        ]
        if len(found) > MOST_PICTURES:
            raise violation.array_too_long(f"messages[{index}].content", MOST_PICTURES, len(found))
        if found:
            return found
    return []
