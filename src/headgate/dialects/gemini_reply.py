"""What Gemini replies, and a whole reply as a chat completion. Streams are read in `gemini_stream`.

Source: ai.google.dev/api/generate-content (GenerateContentResponse). Parts that are not known here are left
out: code that ran there, sources.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from headgate.core.errors import UpstreamFailed
from headgate.dialects.drawn import BREAK, Host, image, markdown, url_of

FILTERED = frozenset((
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "JAILBREAK",
    "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
))  # fmt: skip
"""Reasons for which an answer is held back."""

BROKEN = frozenset((
    "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE", "NO_IMAGE", "IMAGE_OTHER",
))  # fmt: skip
"""The model failed. Where nothing was said either, an empty answer that ends well would hide it."""

NULL = Raw(b"null")
NO_ANSWER = "The upstream's model gave no answer."


class ReplyPlan(Struct, frozen=True):
    """What a request wants of its reply."""

    created_s: int
    """Unix time: replies there carry none."""
    model: str
    """Its name, should the reply not say."""
    legacy: bool = False
    """The client speaks of `functions`: a call is told as `function_call`."""
    host: Host | None = None
    """Keeps the pictures that come; without it they are told as data URLs."""


class UsageSeen(Struct, rename="camel"):
    """Token counts; in streams every event may carry them, as running totals."""

    prompt_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None

    def update(self, later: UsageSeen) -> None:
        """Takes what a later report says."""
        for name in self.__struct_fields__:
            value = getattr(later, name)
            if value is not None:
                setattr(self, name, value)

    def written(self) -> dict[str, Any]:
        """As OpenAI's `usage`: there, thoughts are part of the completion."""
        thoughts = self.thoughts_token_count or 0
        prompt = (self.prompt_token_count or 0) + (self.tool_use_prompt_token_count or 0)
        completion = (self.candidates_token_count or 0) + thoughts
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": self.cached_content_token_count or 0},
            "completion_tokens_details": {"reasoning_tokens": thoughts},
        }


class FunctionCall(Struct, rename="camel"):
    """A call; newer models give it an id."""

    id: str | None = None
    name: str = ""
    args: Raw = NULL


class InlineData(Struct, rename="camel"):
    """A file in base64."""

    mime_type: str = ""
    data: Raw = NULL

    @property
    def is_picture(self) -> bool:
        """Whether it is one that clients can be shown."""
        return self.mime_type.startswith("image/") and self.data != NULL


class Part(Struct, rename="camel"):
    """A piece of an answer."""

    text: Raw = NULL
    thought: bool = False
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: InlineData | None = None


class Content(Struct, rename="camel"):
    """An answer, or what is new of it."""

    parts: list[Part] = field(default_factory=list)


class _Token(Struct, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class _Top(Struct, rename="camel"):
    candidates: list[_Token] = field(default_factory=list)


class Logprobs(Struct, rename="camel"):
    """How likely each token was, and others in its place."""

    chosen_candidates: list[_Token] = field(default_factory=list)
    top_candidates: list[_Top] = field(default_factory=list)


class Candidate(Struct, rename="camel"):
    """One choice."""

    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None
    logprobs_result: Logprobs | None = None


class PromptFeedback(Struct, rename="camel"):
    """Why a prompt was not answered."""

    block_reason: str | None = None
    block_reason_message: str | None = None


class Response(Struct, rename="camel"):
    """A whole reply, or an event of a streamed one."""

    candidates: list[Candidate] = field(default_factory=list)
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: UsageSeen | None = None
    model_version: str = ""
    response_id: str = ""
    error: Raw = NULL


_response = msgspec.json.Decoder(Response).decode
_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def reply_id(response: Response, data: bytes) -> str:
    """The reply's own, else one made of its first bytes."""
    return response.response_id or "chatcmpl-" + blake2b(data, digest_size=12).hexdigest()


def finish_reason(reason: str, *, called: bool, legacy: bool) -> str:
    """OpenAI's word; `called` tells whether a function was called."""
    if reason in FILTERED:
        return "content_filter"
    if reason == "MAX_TOKENS":
        return "length"
    if called:
        return "function_call" if legacy else "tool_calls"
    return "stop"


def refusal_text(reason: str, message: str | None, what: str) -> str | None:
    """What to say of an answer that was held back; None of any other."""
    return (message or f"The {what} was blocked ({reason}).") if reason in FILTERED else None


def blocked(feedback: PromptFeedback | None) -> Candidate | None:
    """A prompt that was not let through, as the candidate that there is none of."""
    if feedback is None or not feedback.block_reason:
        return None
    message = feedback.block_reason_message or f"The prompt was blocked ({feedback.block_reason})."
    # Whatever the reason is called, the prompt was held back.
    return Candidate(finish_reason="SAFETY", finish_message=message, index=0)


def written_call(call: FunctionCall, reply: str, choice: int, place: int) -> dict[str, Any]:
    """A call in OpenAI's form; without an id of its own it gets one that no other of the reply has."""
    text = msgspec.json.format(bytes(call.args), indent=-1).decode()
    return {
        "id": call.id or f"call_{reply}_{choice}_{place}",
        "type": "function",
        "function": {"name": call.name, "arguments": text if text.startswith("{") else "{}"},
    }


def signed(signature: str) -> dict[str, Any]:
    """Where Google's own compatible API keeps a signature, in a message as in a call."""
    return {"google": {"thought_signature": signature}}


def written_logprobs(found: Logprobs) -> dict[str, Any]:
    """OpenAI's `logprobs`."""
    content: list[dict[str, Any]] = []
    for place, token in enumerate(found.chosen_candidates):
        others = found.top_candidates[place].candidates if place < len(found.top_candidates) else []
        content.append({**_likely(token), "top_logprobs": [_likely(other) for other in others]})
    return {"content": content, "refusal": None}


def _likely(token: _Token) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.log_probability, "bytes": list(token.token.encode())}


def whole_reply(body: bytes, plan: ReplyPlan) -> bytes:
    """A whole reply as a chat completion; raises msgspec.DecodeError, or UpstreamFailed for no answer."""
    reply = _response(body)
    if reply.error != NULL:
        raise UpstreamFailed("The upstream reported an error.")
    candidates = reply.candidates
    if not candidates and (refused := blocked(reply.prompt_feedback)) is not None:
        candidates = [refused]
    number = reply_id(reply, body)
    choices = [_choice(candidate, place, number, plan) for place, candidate in enumerate(candidates)]
    if not choices or (
        any(candidate.finish_reason in BROKEN for candidate in candidates)
        and not any(choice["message"].keys() - {"role", "refusal", "content"} for choice in choices)
        and not any(choice["message"]["content"] for choice in choices)
    ):
        raise UpstreamFailed(NO_ANSWER)
    completion: dict[str, Any] = {
        "id": number,
        "object": "chat.completion",
        "created": plan.created_s,
        "model": reply.model_version or plan.model,
        "choices": sorted(choices, key=lambda choice: int(choice["index"])),
    }
    if reply.usage_metadata is not None:
        completion["usage"] = reply.usage_metadata.written()
    return _encode(completion)


def _choice(candidate: Candidate, place: int, number: str, plan: ReplyPlan) -> dict[str, Any]:
    index = place if candidate.index is None else candidate.index
    reason = candidate.finish_reason or "STOP"
    refused = refusal_text(reason, candidate.finish_message, "answer")
    message, called = _message(candidate.content or Content(), number, index, plan, refused)
    probabilities = candidate.logprobs_result
    return {
        "index": index,
        "message": message,
        "logprobs": None if probabilities is None else written_logprobs(probabilities),
        "finish_reason": finish_reason(reason, called=called, legacy=plan.legacy),
    }


class _Said:
    """What the parts of one choice say, by kind."""

    def __init__(self, number: str, index: int, host: Host | None) -> None:
        self._number = number
        self._index = index
        self._host = host
        self._drew = False
        self.texts: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self.signature: str | None = None

    def add(self, part: Part) -> None:
        if part.function_call is not None:
            call = written_call(part.function_call, self._number, self._index, len(self.calls))
            if part.thought_signature:
                call["extra_content"] = signed(part.thought_signature)
            self.calls.append(call)
            return
        self.signature = part.thought_signature or self.signature
        if part.inline_data is not None and part.inline_data.is_picture and not part.thought:
            self._draw(part.inline_data)
        if part.text == NULL:
            return
        text = _text(part.text)
        if part.thought:
            self.reasoning.append(text)
        elif text:
            self.texts += [BREAK, text] if self._drew else [text]
            self._drew = False

    def _draw(self, drawing: InlineData) -> None:
        url = url_of(drawing.mime_type, drawing.data, self._host)
        self.texts += [BREAK, markdown(url)] if self.texts else [markdown(url)]
        self.images.append(image(url, len(self.images)))
        self._drew = True


def _message(
    content: Content, number: str, index: int, plan: ReplyPlan, refused: str | None
) -> tuple[dict[str, Any], bool]:
    """OpenAI's message for the parts, and whether it calls."""
    said = _Said(number, index, plan.host)
    for part in content.parts:
        said.add(part)
    text = "".join(said.texts)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not (said.calls or refused) else None,
        "refusal": refused,
    }
    if said.images:
        message["images"] = said.images
    if any(said.reasoning):
        message["reasoning_content"] = "".join(said.reasoning)
    if said.calls and plan.legacy:
        message["function_call"] = said.calls[0]["function"]
    elif said.calls:
        message["tool_calls"] = said.calls
    if said.signature:
        message["extra_content"] = signed(said.signature)
    return message, bool(said.calls)
