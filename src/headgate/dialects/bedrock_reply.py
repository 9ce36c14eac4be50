"""What Converse replies, and a whole reply as a chat completion. Streams are read in `bedrock_stream`.

Source: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html. Blocks that are not known
here are left out.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from headgate.core.errors import UpstreamFailed

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}

BROKEN = frozenset(("malformed_model_output", "malformed_tool_use"))
"""The model failed. Where nothing was said either, an empty answer that ends well would hide it."""

NULL = Raw(b"null")
NO_ANSWER = "The upstream's model gave no answer."


class ReplyPlan(Struct, frozen=True):
    """What a request wants of its reply."""

    number: str
    """The reply's id: Converse gives none."""
    created_s: int
    """Unix time: replies there carry none."""
    model: str
    """Its name: replies there carry none."""
    legacy: bool = False
    """The client speaks of `functions`: a call is told as `function_call`."""
    answer_tool: str | None = None
    """The tool whose input is the answer itself."""


class UsageSeen(Struct, rename="camel"):
    """Token counts. What was read from a cache or written to one is not in `inputTokens`."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None

    def written(self) -> dict[str, Any]:
        """As OpenAI's `usage`: there, cached tokens are part of the prompt's."""
        read, made = self.cache_read_input_tokens or 0, self.cache_write_input_tokens or 0
        prompt = (self.input_tokens or 0) + read + made
        completion = self.output_tokens or 0
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": made},
        }


class ToolUse(Struct, rename="camel"):
    """A call, or the beginning of one."""

    tool_use_id: str = ""
    name: str = ""
    input: Raw = NULL
    type: str | None = None
    """`server_tool_use` for a tool that runs there: no call of the client's."""


class _ReasoningText(Struct):
    text: str = ""
    signature: str | None = None


class _Reasoning(Struct, rename="camel"):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str | None = None


class _Text(Struct):
    text: str = ""


class _Cited(Struct):
    content: list[_Text] = field(default_factory=list)


class _Block(Struct, rename="camel"):
    text: str | None = None
    tool_use: ToolUse | None = None
    reasoning_content: _Reasoning | None = None
    citations_content: _Cited | None = None


class _Message(Struct):
    content: list[_Block] = field(default_factory=list)


class _Output(Struct):
    message: _Message


class _Reply(Struct, rename="camel"):
    output: _Output
    stop_reason: str = ""
    usage: UsageSeen | None = None


_reply = msgspec.json.Decoder(_Reply).decode
_encode = msgspec.json.Encoder().encode


def finish_reason(stop_reason: str, *, plan: ReplyPlan, called: bool) -> str:
    """OpenAI's word; `called` tells whether a function was called, other than to answer."""
    finish = FINISH_REASONS.get(stop_reason, "stop")
    if finish != "tool_calls":
        return finish
    if not called:
        return "stop"
    return "function_call" if plan.legacy else "tool_calls"


def refusal_text(stop_reason: str) -> str | None:
    """What to say of an answer that was held back; None of any other."""
    if FINISH_REASONS.get(stop_reason) != "content_filter":
        return None
    return f"The answer was blocked ({stop_reason})."


def arguments(given: Raw) -> str:
    """A call's input as OpenAI's text, without white space; an object even where nothing was said."""
    text = msgspec.json.format(bytes(given), indent=-1).decode()
    return text if text.startswith("{") else "{}"


def thought(text: str, signature: str | None, redacted: str | None) -> dict[str, Any]:
    """A thought in the form in which it must come back: as with Anthropic's own API."""
    if redacted is not None:
        return {"type": "redacted_thinking", "data": redacted}
    return {"type": "thinking", "thinking": text, "signature": signature or ""}


def whole_reply(body: bytes, plan: ReplyPlan) -> bytes:
    """A whole reply as a chat completion; raises msgspec.DecodeError, or UpstreamFailed for no answer."""
    reply = _reply(body)
    message, called = _read(reply, plan)
    if reply.stop_reason in BROKEN and not called and not message["content"]:
        raise UpstreamFailed(NO_ANSWER)
    completion: dict[str, Any] = {
        "id": plan.number,
        "object": "chat.completion",
        "created": plan.created_s,
        "model": plan.model,
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


class _Read:
    """What a message's blocks say, by kind."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.reasoning: list[str] = []
        self.thoughts: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []

    def add(self, block: _Block, answer_tool: str | None) -> None:
        if block.text is not None:
            self.texts.append(block.text)
        elif block.citations_content is not None:
            self.texts += [piece.text for piece in block.citations_content.content]
        elif block.reasoning_content is not None:
            self._think(block.reasoning_content)
        elif block.tool_use is not None and block.tool_use.type is None:
            used = block.tool_use
            if used.name == answer_tool:
                self.texts.append(arguments(used.input))
                return
            function = {"name": used.name, "arguments": arguments(used.input)}
            self.calls.append({"id": used.tool_use_id, "type": "function", "function": function})

    def _think(self, found: _Reasoning) -> None:
        told = found.reasoning_text or _ReasoningText()
        kept = thought(told.text, told.signature, found.redacted_content)
        self.thoughts.append({"index": len(self.thoughts), **kept})
        self.reasoning.append(told.text)


def _read(reply: _Reply, plan: ReplyPlan) -> tuple[dict[str, Any], bool]:
    """OpenAI's message for the blocks, and whether it calls."""
    found = _Read()
    for block in reply.output.message.content:
        found.add(block, plan.answer_tool)
    content = "".join(found.texts)
    refused = refusal_text(reply.stop_reason)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content if content or not (found.calls or refused) else None,
        "refusal": refused,
    }
    if any(found.reasoning):
        message["reasoning_content"] = "".join(found.reasoning)
    if found.thoughts:
        message["thinking_blocks"] = found.thoughts
    if found.calls and plan.legacy:
        message["function_call"] = found.calls[0]["function"]
    elif found.calls:
        message["tool_calls"] = found.calls
    return message, bool(found.calls)
