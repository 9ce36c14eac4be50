"""What Cohere replies, and a whole reply as a chat completion. Streams are read in `cohere_stream`.

Source: docs.cohere.com/v2/reference/chat. Parts that are not known here are left out.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from headgate.core.errors import UpstreamFailed

FINISH_REASONS = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    # It was cut short: like at a limit, there would be more.
    "TIMEOUT": "length",
    "TOOL_CALL": "tool_calls",
}

BROKEN = frozenset(("ERROR", "TIMEOUT"))
"""The model failed. Where nothing was said either, an empty answer that ends well would hide it."""

NULL = Raw(b"null")
NO_ANSWER = "The upstream's model gave no answer."


class ReplyPlan(Struct, frozen=True):
    """What a request wants of its reply."""

    created_s: int
    """Unix time: replies there carry none."""
    model: str
    """Its name: replies there carry none."""
    legacy: bool = False
    """The client speaks of `functions`: a call is told as `function_call`."""
    answer_tool: str | None = None
    """The tool whose input is the answer itself."""


class Tokens(Struct):
    """Counts, written as decimals there."""

    input_tokens: float | None = None
    output_tokens: float | None = None


class UsageSeen(Struct):
    """Token counts, which are written as decimals there; what is billed leaves Cohere's own words out."""

    tokens: Tokens | None = None
    billed_units: Tokens | None = None
    cached_tokens: float | None = None

    def written(self) -> dict[str, Any]:
        """As OpenAI's `usage`."""
        found = self.tokens or self.billed_units or Tokens()
        prompt, completion = int(found.input_tokens or 0), int(found.output_tokens or 0)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": int(self.cached_tokens or 0)},
        }


class Function(Struct):
    """The function that is called, or a piece of what it is called with."""

    name: str = ""
    arguments: Raw = NULL


class ToolCall(Struct):
    """A call, or a piece of one."""

    id: str = ""
    function: Function | None = None


class Likely(Struct):
    """How likely a piece of text was: one number for each of its tokens."""

    text: str = ""
    logprobs: list[float] | None = None

    def written(self) -> dict[str, Any]:
        """As OpenAI has it of a token: pieces of several tokens have the likelihood of all together."""
        return {
            "token": self.text,
            "logprob": sum(self.logprobs or ()),
            "bytes": list(self.text.encode()),
            "top_logprobs": [],
        }


class _Part(Struct):
    text: str | None = None
    thinking: str | None = None


class _Message(Struct):
    content: list[_Part] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_plan: str | None = None
    citations: list[Raw] | None = None


class _Reply(Struct):
    message: _Message
    id: str = ""
    finish_reason: str = ""
    usage: UsageSeen | None = None
    logprobs: list[Likely] | None = None


class _Document(Struct):
    url: str | None = None
    title: str | None = None


class _Source(Struct):
    document: _Document | None = None


class _Citation(Struct):
    start: int | None = None
    end: int | None = None
    sources: list[_Source] = field(default_factory=list)


_reply = msgspec.json.Decoder(_Reply).decode
_citation = msgspec.json.Decoder(_Citation).decode
_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def finish_reason(reason: str, *, plan: ReplyPlan, called: bool) -> str:
    """OpenAI's word; `called` tells whether a function was called, other than to answer."""
    finish = FINISH_REASONS.get(reason, "stop")
    if finish != "tool_calls":
        return finish
    if not called:
        return "stop"
    return "function_call" if plan.legacy else "tool_calls"


def annotated(citation: Raw) -> list[dict[str, Any]]:
    """OpenAI's annotations for the sources of a citation that have an address; others have no such form."""
    try:
        found = _citation(citation)
    except msgspec.ValidationError:
        return []
    made: list[dict[str, Any]] = []
    for source in found.sources:
        document = source.document
        if document is not None and document.url is not None:
            cited = {
                "start_index": found.start or 0,
                "end_index": found.end or 0,
                "title": document.title or document.url,
                "url": document.url,
            }
            made.append({"type": "url_citation", "url_citation": cited})
    return made


def arguments(given: Raw) -> str:
    """A call's arguments; an object even where nothing was said."""
    return _text(given) or "{}" if given != NULL else "{}"


def whole_reply(body: bytes, plan: ReplyPlan) -> bytes:
    """A whole reply as a chat completion; raises msgspec.DecodeError, or UpstreamFailed for no answer."""
    reply = _reply(body)
    message, called = _read(reply.message, plan)
    if reply.finish_reason in BROKEN and not called and not message["content"]:
        raise UpstreamFailed(NO_ANSWER)
    likely = reply.logprobs
    completion: dict[str, Any] = {
        "id": reply.id,
        "object": "chat.completion",
        "created": plan.created_s,
        "model": plan.model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None if likely is None else written_logprobs(likely),
                "finish_reason": finish_reason(reply.finish_reason, plan=plan, called=called),
            }
        ],
    }
    if reply.usage is not None:
        completion["usage"] = reply.usage.written()
    return _encode(completion)


def written_logprobs(likely: list[Likely]) -> dict[str, Any]:
    """OpenAI's `logprobs`."""
    return {"content": [piece.written() for piece in likely], "refusal": None}


def _read(given: _Message, plan: ReplyPlan) -> tuple[dict[str, Any], bool]:
    """OpenAI's message, and whether it calls."""
    texts = [part.text for part in given.content or () if part.text]
    thoughts = [part.thinking for part in given.content or () if part.thinking]
    if given.tool_plan:
        thoughts.append(given.tool_plan)
    calls: list[dict[str, Any]] = []
    for call in given.tool_calls or ():
        function = call.function or Function()
        if function.name == plan.answer_tool:
            texts.append(arguments(function.arguments))
            continue
        called = {"name": function.name, "arguments": arguments(function.arguments)}
        calls.append({"id": call.id, "type": "function", "function": called})
    content = "".join(texts)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content if content or not calls else None,
        "refusal": None,
    }
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if given.tool_plan:
        message["tool_plan"] = given.tool_plan
    if given.citations:
        message["citations"] = given.citations
        found = [note for citation in given.citations for note in annotated(citation)]
        if found:
            message["annotations"] = found
    if calls and plan.legacy:
        message["function_call"] = calls[0]["function"]
    elif calls:
        message["tool_calls"] = calls
    return message, bool(calls)
