"""Writes a conversation as Cohere's v2 chat takes it: much as OpenAI's, but for parts, thoughts and plans.

Source: docs.cohere.com/v2/reference/chat. Must not know the rest of the request.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from headgate.core import violation
from headgate.core.message import PART_MEMBERS
from headgate.dialects.data_url import read_data_url
from headgate.dialects.unsupported import Unsupported

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
"""OpenAI's roles in Cohere's words; a system message may stand anywhere there."""

DETAILS = frozenset(("auto", "low", "high"))

Part = dict[str, Any]
Written = dict[str, Any]


# --- what the client wrote; types of OpenAI's own fields were checked at the door -------------------


class _Function(Struct):
    name: str
    arguments: str


class _Call(Struct):
    id: str
    type: str
    function: _Function | None = None


class _Message(Struct):
    role: str
    content: str | list[msgspec.Raw] | None = None
    name: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    function_call: _Function | None = None
    reasoning_content: str | None = None
    tool_plan: str | None = None
    """What our replies carried, and what is wanted back."""


class _Url(Struct):
    url: str
    detail: str | None = None


class _Part(Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _Url | None = None
    prompt_cache_breakpoint: dict[str, Any] | None = None


_messages = msgspec.json.Decoder(list[_Message]).decode
_part = msgspec.json.Decoder(_Part).decode
_arguments = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def write_messages(raw: msgspec.Raw | bytes, unsupported: Unsupported) -> list[Written]:
    """The request's `messages`, as they came, in Cohere's form; raises InvalidField."""
    try:
        messages = _messages(raw)
    except msgspec.ValidationError:
        raise violation.wrong_value(
            "messages", "Invalid value for 'messages': 'reasoning_content' and 'tool_plan' hold text."
        ) from None
    writer = _Writer(unsupported)
    written = [
        made
        for index, message in enumerate(messages)
        if (made := writer.message(message, f"messages[{index}]")) is not None
    ]
    if not any(message["role"] != "system" for message in written):
        raise violation.wrong_value(
            "messages", "Invalid value for 'messages': this model needs one that is not a system message."
        )
    return written


class _Writer:
    """Writes one message after the other."""

    def __init__(self, unsupported: Unsupported) -> None:
        self._unsupported = unsupported
        self._last_call = "call_0"

    def message(self, message: _Message, at: str) -> Written | None:
        """The message in Cohere's form; None for one that says nothing, which is refused there."""
        if message.name is not None and message.role != "function":
            self._unsupported.hint("messages.name")
        role = ROLES.get(message.role)
        if role is None:
            raise violation.wrong_value(
                f"{at}.role",
                f"Invalid value: '{violation.quote(message.role)}'. Supported values are: 'system', "
                "'developer', 'user', 'assistant', 'tool' and 'function'.",
            )
        if role == "assistant":
            return self._said(message, at)
        parts = self._parts(message, at, pictures=role == "user")
        if role == "tool":
            # The old form names the function and no call: it was the last one.
            number = self._last_call if message.tool_call_id is None else message.tool_call_id
            return {"role": role, "tool_call_id": number, "content": _plain(parts)}
        return {"role": role, "content": _plain(parts)} if parts else None

    def _said(self, message: _Message, at: str) -> Written | None:
        parts = self._parts(message, at, pictures=False)
        if message.reasoning_content and message.tool_plan is None:
            parts.insert(0, {"type": "thinking", "thinking": message.reasoning_content})
        calls: list[Written] = []
        for index, call in enumerate(message.tool_calls or ()):
            place = f"{at}.tool_calls[{index}]"
            if call.function is None:
                raise violation.wrong_value(
                    f"{place}.type", "This model supports calls of type 'function' only."
                )
            calls.append(self._call(call.id, call.function, f"{place}.function"))
        if message.function_call is not None:
            number = f"call_{at.removeprefix('messages[')[:-1]}"
            calls.append(self._call(number, message.function_call, f"{at}.function_call"))
        if not parts and not calls:
            return None
        written: Written = {"role": "assistant"}
        if parts:
            written["content"] = _plain(parts)
        if calls:
            written["tool_calls"] = calls
            if message.tool_plan:
                written["tool_plan"] = message.tool_plan
        return written

    def _call(self, number: str, function: _Function, at: str) -> Written:
        self._last_call = number
        # Some clients send nothing where there are no arguments.
        text = function.arguments.strip() or "{}"
        try:
            _arguments(text)
        except (msgspec.DecodeError, RecursionError):
            raise violation.wrong_value(
                f"{at}.arguments", f"Invalid '{at}.arguments': expected a JSON object in a string."
            ) from None
        return {"id": number, "type": "function", "function": {"name": function.name, "arguments": text}}

    def _parts(self, message: _Message, at: str, *, pictures: bool) -> list[Part]:
        content = message.content
        if content is None:
            content = message.refusal or ""
        if isinstance(content, str):
            return [{"type": "text", "text": content}] if content else []
        parts: list[Part] = []
        for index, raw in enumerate(content):
            part = self._part(raw, f"{at}.content[{index}]", pictures=pictures)
            if part is not None:
                parts.append(part)
        return parts

    def _part(self, raw: msgspec.Raw, at: str, *, pictures: bool) -> Part | None:
        part = _part(raw)
        if part.type not in PART_MEMBERS:
            # Cohere's own, such as a `document` in a tool's result: not ours to judge.
            return msgspec.json.decode(raw, type=dict[str, Any])
        if part.prompt_cache_breakpoint is not None:
            self._unsupported.hint("messages.content.prompt_cache_breakpoint")
        if part.type in ("text", "refusal"):
            text = part.text if part.type == "text" else part.refusal
            return {"type": "text", "text": text} if text else None
        if part.type == "image_url" and part.image_url is not None and pictures:
            return {"type": "image_url", "image_url": self._picture(part.image_url, f"{at}.image_url.url")}
        known = "'text' and 'image_url'" if pictures else "'text' here"
        raise violation.wrong_value(
            f"{at}.type",
            f"Invalid value: '{violation.quote(part.type)}'. This model supports content of type {known}.",
        )

    def _picture(self, given: _Url, at: str) -> Part:
        if not given.url.startswith("https://") and read_data_url(given.url) is None:
            raise violation.wrong_value(
                at, f"Invalid '{at}': expected an https URL or a data URL (data:image/...;base64,...)."
            )
        if given.detail is None:
            return {"url": given.url}
        if given.detail not in DETAILS:
            self._unsupported.hint("messages.content.image_url.detail")
            return {"url": given.url}
        return {"url": given.url, "detail": given.detail}


def _plain(parts: list[Part]) -> str | list[Part]:
    """Text that stands alone needs no part around it."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return str(parts[0]["text"])
    return parts
