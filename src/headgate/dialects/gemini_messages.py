"""Writes a conversation as Gemini takes it: system apart, turns of user and model, parts in turns.

Sources: ai.google.dev/api/caching (Content), .../gemini-api/docs/function-calling, .../thought-signatures.
Must not know the rest of the request.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core import violation
from headgate.core.message import PART_MEMBERS
from headgate.dialects.gemini_parts import Part, media
from headgate.dialects.unsupported import Unsupported

SYSTEM_ROLES = frozenset(("system", "developer"))

NO_SIGNATURE = "skip_thought_signature_validator"
"""Gemini 3 refuses a call that comes back without its signature. This, it documents, stands for one that is
not there: most clients do not keep what they do not know, and other models' calls never had any."""

# JSON numbers become doubles there: a longer one, such as an id, would come out as another.
_LONG_NUMBER = re.compile(r"\d{16}")


class Conversation(Struct):
    """What a request's messages become."""

    system: list[Part]
    contents: list[dict[str, Any]]


# --- what the client wrote; types of OpenAI's own fields were checked at the door -------------------


class _Google(Struct):
    thought_signature: str | None = None


class _Extra(Struct):
    google: _Google | None = None


class _Function(Struct):
    name: str
    arguments: str


class _Call(Struct):
    id: str
    type: str
    function: _Function | None = None
    extra_content: _Extra | None = None


class _Message(Struct):
    role: str
    content: str | list[msgspec.Raw] | None = None
    name: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    function_call: _Function | None = None
    extra_content: _Extra | None = None
    """Where Google's own compatible API keeps signatures, in messages and in calls; our replies too."""


class _Part(Struct):
    type: str
    text: str | None = None
    refusal: str | None = None


_messages = msgspec.json.Decoder(list[_Message]).decode
_part = msgspec.json.Decoder(_Part).decode
_arguments = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def write_conversation(raw: msgspec.Raw | bytes, unsupported: Unsupported, *, signed: bool) -> Conversation:
    """The request's `messages`, as they came, in Gemini's form; raises InvalidField.

    `signed` tells that the model wants a signature with its calls.
    """
    try:
        messages = _messages(raw)
    except msgspec.ValidationError:
        raise violation.wrong_value(
            "messages", "Invalid value for 'messages': 'extra_content' holds objects and a signature."
        ) from None
    writer = _Writer(unsupported, signed=signed)
    for index, message in enumerate(messages):
        writer.add(message, f"messages[{index}]")
    return writer.conversation()


class _Writer:
    """Puts one message after the other into turns."""

    def __init__(self, unsupported: Unsupported, *, signed: bool) -> None:
        self._unsupported = unsupported
        self._signed = signed
        self._system: list[Part] = []
        self._turns: list[tuple[str, list[Part]]] = []
        self._names: dict[str, str] = {}
        """Which function a call called, by the call's id."""

    def add(self, message: _Message, at: str) -> None:
        if message.name is not None and message.role not in ("function", "tool"):
            self._unsupported.hint("messages.name")
        if message.role in SYSTEM_ROLES:
            self._system += self._content(message, at, only_text=True)
        elif message.role == "user":
            self._turn("user", self._content(message, at))
        elif message.role == "assistant":
            self._turn("model", self._said(message, at))
        elif message.role in ("tool", "function"):
            self._turn("user", [self._result(message, at)])
        else:
            raise violation.wrong_value(
                f"{at}.role",
                f"Invalid value: '{violation.quote(message.role)}'. Supported values are: 'system', "
                "'developer', 'user', 'assistant', 'tool' and 'function'.",
            )

    def conversation(self) -> Conversation:
        if not self._turns:
            raise violation.wrong_value(
                "messages", "Invalid value for 'messages': this model needs one that is not a system message."
            )
        contents = [{"role": role, "parts": _results_first(parts)} for role, parts in self._turns]
        return Conversation(self._system, contents)

    def _turn(self, role: str, parts: list[Part]) -> None:
        if not parts:
            return  # an empty turn is refused there, and says nothing
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(parts)
        else:
            self._turns.append((role, parts))

    def _content(self, message: _Message, at: str, *, only_text: bool = False) -> list[Part]:
        content = message.content
        if content is None:
            content = message.refusal or ""
        if isinstance(content, str):
            return [{"text": content}] if content else []
        parts: list[Part] = []
        for index, raw in enumerate(content):
            part = self._content_part(raw, f"{at}.content[{index}]")
            if only_text and part is not None and part.keys() != {"text"}:
                raise violation.wrong_value(
                    f"{at}.content[{index}].type", "Invalid value: system messages hold text only."
                )
            if part is not None:
                parts.append(part)
        return parts

    def _content_part(self, raw: msgspec.Raw, at: str) -> Part | None:
        part = _part(raw)
        if part.type not in PART_MEMBERS:
            # One of Gemini's own, such as `fileData` with `videoMetadata`: they have no `type` there.
            own = msgspec.json.decode(raw, type=dict[str, Any])
            del own["type"]
            return own
        if part.type in ("text", "refusal"):
            text = part.text if part.type == "text" else part.refusal
            return {"text": text} if text else None  # empty text is refused there
        return media(raw, part.type, at, self._unsupported)

    def _said(self, message: _Message, at: str) -> list[Part]:
        parts = self._content(message, at)
        signature = _signature(message.extra_content)
        if signature is not None:
            if not parts or "text" not in parts[-1]:
                parts.append({"text": ""})  # where a stream carries a signature that comes last
            parts[-1]["thoughtSignature"] = signature
        calls: list[Part] = []
        for index, call in enumerate(message.tool_calls or ()):
            place = f"{at}.tool_calls[{index}]"
            if call.function is None:
                raise violation.wrong_value(
                    f"{place}.type", "This model supports calls of type 'function' only."
                )
            self._names[call.id] = call.function.name
            written = {"id": call.id, **_called(call.function, f"{place}.function")}
            calls.append({"functionCall": written, **_signed(call.extra_content)})
        if message.function_call is not None:
            calls.append({"functionCall": _called(message.function_call, f"{at}.function_call")})
        # Of parallel calls, the first carries the signature.
        if calls and self._signed:
            calls[0].setdefault("thoughtSignature", NO_SIGNATURE)
        return parts + calls

    def _result(self, message: _Message, at: str) -> Part:
        given = message.tool_call_id
        name = message.name if given is None else self._names.get(given, message.name)
        if name is None:
            raise violation.wrong_value(
                f"{at}.tool_call_id",
                f"Invalid '{at}.tool_call_id': no earlier message of role 'assistant' has a tool call with "
                "this id, and this model needs the function's name.",
            )
        texts: list[str] = []
        others: list[Part] = []
        for part in self._content(message, at):
            if part.keys() == {"text"}:
                texts.append(part["text"])
            else:
                others.append(part)
        result: Part = {"name": name, "response": _response("".join(texts))}
        if given is not None:
            result["id"] = given
        if others:
            result["parts"] = others
        return {"functionResponse": result}


def _signature(extra: _Extra | None) -> str | None:
    return (
        (extra.google.thought_signature or None) if extra is not None and extra.google is not None else None
    )


def _signed(extra: _Extra | None) -> Part:
    signature = _signature(extra)
    return {} if signature is None else {"thoughtSignature": signature}


def _called(function: _Function, at: str) -> Part:
    # Some clients send nothing where there are no arguments.
    text = function.arguments.strip() or "{}"
    try:
        _arguments(text)
    except (msgspec.DecodeError, RecursionError):
        raise violation.wrong_value(
            f"{at}.arguments", f"Invalid '{at}.arguments': expected a JSON object in a string."
        ) from None
    return {"name": function.name, "args": msgspec.Raw(text.encode())}


def _response(text: str) -> msgspec.Raw | Part:
    """A result as the object that it must be there: itself if it is one, else under the name for it."""
    if not _LONG_NUMBER.search(text):
        try:
            _arguments(text)
        except (msgspec.DecodeError, RecursionError):
            pass
        else:
            return msgspec.Raw(text.encode())
    return {"output": text}


def _results_first(parts: list[Part]) -> list[Part]:
    """Results before words, so that they follow their calls; else as they came."""
    return sorted(parts, key=lambda part: "functionResponse" not in part)
