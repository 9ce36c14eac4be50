"""What Anthropic replies, and a whole reply as a chat completion. Streams are read in `anthropic_stream`.

Sources: platform.claude.com/docs/en/api/messages/create, .../build-with-claude/handling-stop-reasons,
.../build-with-claude/prompt-caching. Block types that are not known here are left out.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from headgate.core.errors import UpstreamFailed

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    # A long turn of tools that run there was interrupted: like at a limit, there would be more.
    "pause_turn": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

NULL = Raw(b"null")


class ReplyPlan(Struct, frozen=True):
    """What a request wants of its reply."""

    created_s: int
    """Unix time: replies there carry none."""
    model: str
    """Its name, should the reply not say."""
    legacy: bool = False
    """The client speaks of `functions`: a call is told as `function_call`."""
    answer_tool: str | None = None
    """The tool whose input is the answer itself."""


class OutputDetails(Struct):
    """Parts of the output."""

    thinking_tokens: int | None = None


class UsageSeen(Struct):
    """Token counts; in streams they come in parts, each a running total."""

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None

    def update(self, later: UsageSeen) -> None:
        """Takes what a later report says."""
        for name in self.__struct_fields__:
            value = getattr(later, name)
            if value is not None:
                setattr(self, name, value)

    def written(self) -> dict[str, Any]:
        """As OpenAI's `usage`: there, cached tokens are part of the prompt's."""
        read, made = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        prompt = (self.input_tokens or 0) + read + made
        completion = self.output_tokens or 0
        usage: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": made},
        }
        if self.output_tokens_details is not None:
            reasoning = self.output_tokens_details.thinking_tokens or 0
            usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
        return usage


class Block(Struct):
    """A content block, or the beginning of one."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = NULL


class StopDetails(Struct):
    """Why it would not answer."""

    explanation: str | None = None


class Message(Struct):
    """A whole reply, or the head of a streamed one."""

    content: list[Block]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: UsageSeen | None = None


class _Whole(Struct):
    type: str = ""
    error: Raw = NULL


_kind = msgspec.json.Decoder(_Whole).decode
_message = msgspec.json.Decoder(Message).decode
_encode = msgspec.json.Encoder().encode


def finish_reason(stop_reason: str | None, *, plan: ReplyPlan, called: bool) -> str:
    """OpenAI's word; `called` tells whether a function was called, other than to answer."""
    finish = FINISH_REASONS.get(stop_reason or "", "stop")
    if finish != "tool_calls":
        return finish
    if not called:
        return "stop"
    return "function_call" if plan.legacy else "tool_calls"


def arguments(given: Raw) -> str:
    """A call's input as OpenAI's text, without white space; an object even where nothing was said."""
    text = msgspec.json.format(bytes(given), indent=-1).decode()
    return text if text.startswith("{") else "{}"


def thought(block: Block) -> dict[str, Any] | None:
    """A block of thoughts in the form in which it must come back; None for another block."""
    if block.type == "thinking":
        return {
            "type": "thinking",
            "thinking": block.thinking or "",
            "signature": block.signature or "",
        }
    if block.type == "redacted_thinking":
        return {"type": "redacted_thinking", "data": block.data or ""}
    return None


def whole_reply(body: bytes, plan: ReplyPlan) -> bytes:
    """A whole reply as a chat completion; raises msgspec.DecodeError, or UpstreamFailed for an error."""
    kind = _kind(body)
    if kind.type == "error" or kind.error != NULL:
        raise UpstreamFailed("The upstream reported an error.")
    reply = _message(body)
    message, called = _read(reply, plan)
    completion: dict[str, Any] = {
        "id": reply.id,
        "object": "chat.completion",
        "created": plan.created_s,
        "model": reply.model or plan.model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": finish_reason(reply.stop_reason, plan=plan, called=called),
            }
        ],
    }
    if reply.usage is not None:
        completion["usage"] = reply.usage.written()
    return _encode(completion)


def _read(reply: Message, plan: ReplyPlan) -> tuple[dict[str, Any], bool]:
    """OpenAI's message for the blocks, and whether it calls."""
    texts: list[str] = []
    reasoning: list[str] = []
    thoughts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for block in reply.content:
        kept = thought(block)
        if kept is not None:
            thoughts.append({"index": len(thoughts), **kept})
            reasoning.append(block.thinking or "")
        elif block.type == "text":
            texts.append(block.text or "")
        elif block.type == "tool_use" and block.name == plan.answer_tool:
            texts.append(arguments(block.input))
        elif block.type == "tool_use":
            function = {"name": block.name or "", "arguments": arguments(block.input)}
            calls.append({"id": block.id or "", "type": "function", "function": function})
    refused = reply.stop_details.explanation if reply.stop_details is not None else None
    content = "".join(texts)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content if content or not (calls or refused) else None,
        "refusal": refused,
    }
    if any(reasoning):
        message["reasoning_content"] = "".join(reasoning)
    if thoughts:
        message["thinking_blocks"] = thoughts
    if calls and plan.legacy:
        message["function_call"] = calls[0]["function"]
    elif calls:
        message["tool_calls"] = calls
    return message, bool(calls)
