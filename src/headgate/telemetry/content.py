"""What was asked and answered, in the words of the GenAI conventions, for who wants prompts in traces.

Pure, and forgiving: what cannot be read is left out, for a trace is no place to fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from headgate.core.sse import events, payload

MOST_CHARACTERS = 65_536
"""Of one text: collectors refuse spans of megabytes."""

_ODD = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, AttributeError, TypeError, KeyError)
"""What a body of another shape than OpenAI's runs into."""

Part = dict[str, Any]


class _Asked(msgspec.Struct):
    messages: list[dict[str, Any]] = []
    prompt: Any = None
    input: Any = None


def asked_messages(body: bytes) -> str:
    """A request's messages as `gen_ai.input.messages`: JSON, roles with parts; empty when there are none."""
    try:
        asked = msgspec.json.decode(body, type=_Asked)
        said = [{"role": str(one.get("role", "")), "parts": list(_parts(one))} for one in asked.messages]
        for plain in (asked.prompt, asked.input):
            texts = [plain] if isinstance(plain, str) else plain if isinstance(plain, list) else []
            said += [{"role": "user", "parts": [_text(text)]} for text in texts if isinstance(text, str)]
    except _ODD:
        return ""
    return msgspec.json.encode(said).decode() if said else ""


def answered_messages(pieces: Sequence[bytes], *, stream: bool) -> str:
    """A reply as `gen_ai.output.messages`, a stream's chunks put together; empty when nothing was said."""
    body = b"".join(pieces)
    try:
        choices = _streamed(body) if stream else _whole(body)
        said = [
            {"role": "assistant", "parts": list(_parts(message)), "finish_reason": reason or ""}
            for _, (message, reason) in sorted(choices.items())
        ]
    except _ODD:
        return ""
    return msgspec.json.encode(said).decode() if said else ""


def _whole(body: bytes) -> dict[int, tuple[dict[str, Any], str | None]]:
    choices = msgspec.json.decode(body).get("choices") or ()
    return {
        number: (choice.get("message") or {"content": choice.get("text")}, choice.get("finish_reason"))
        for number, choice in enumerate(choices)
    }


def _streamed(body: bytes) -> dict[int, tuple[dict[str, Any], str | None]]:
    texts: dict[int, dict[str, str]] = {}
    calls: dict[int, dict[int, Part]] = {}
    reasons: dict[int, str | None] = {}
    for event in events(body):
        data = payload(event)
        if not data or not data.startswith(b"{"):
            continue
        for choice in msgspec.json.decode(data).get("choices") or ():
            index, delta = choice.get("index", 0), choice.get("delta") or {"content": choice.get("text")}
            reasons[index] = choice.get("finish_reason") or reasons.get(index)
            kept = texts.setdefault(index, {})
            for name in ("content", "reasoning_content"):
                if isinstance(delta.get(name), str):
                    kept[name] = kept.get(name, "") + delta[name]
            for call in delta.get("tool_calls") or ():
                _grow(calls.setdefault(index, {}).setdefault(call.get("index", 0), {}), call)
    return {
        index: ({**texts[index], "tool_calls": [*calls.get(index, {}).values()]}, reasons[index])
        for index in texts
    }


def _grow(call: Part, delta: Part) -> None:
    function = call.setdefault("function", {"name": "", "arguments": ""})
    call["id"] = call.get("id") or delta.get("id") or ""
    for name, piece in (delta.get("function") or {}).items():
        if name in function and isinstance(piece, str):
            function[name] += piece


def _parts(message: Part) -> Iterator[Part]:
    if message.get("reasoning_content"):
        yield {"type": "reasoning", "content": str(message["reasoning_content"])[:MOST_CHARACTERS]}
    content = message.get("content")
    if message.get("role") == "tool":
        yield {
            "type": "tool_call_response",
            "id": str(message.get("tool_call_id", "")),
            "response": content if isinstance(content, str) else "",
        }
    elif isinstance(content, str) and content:
        yield _text(content)
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict):
                # Pictures and sounds are named, not copied: they would be the bulk of every span.
                kind = part.get("type")
                yield _text(part["text"]) if isinstance(part.get("text"), str) else {"type": str(kind)}
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        yield {
            "type": "tool_call",
            "id": str(call.get("id", "")),
            "name": str(function.get("name", "")),
            "arguments": str(function.get("arguments", ""))[:MOST_CHARACTERS],
        }


def _text(text: str) -> Part:
    return {"type": "text", "content": text[:MOST_CHARACTERS]}
