"""Turns llama.cpp's replies into OpenAI's: calls, usage of several choices, log probabilities, first chunks.

A whole reply is read as the chunks it is made of, so that both forms take one way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core.errors import UpstreamFailed
from headgate.core.sse import DONE, events, payload
from headgate.core.sse import event as sse_event
from headgate.dialects.call_text import Arguments, Call, FreeCalls, GrammarCalls, Piece, Text

Chunk = dict[str, Any]


# --- what llama.cpp sends -------------------------------------------------------------------------


class _Function(Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(Struct):
    function: _Function
    index: int | None = None
    """Only in streams."""
    id: str | None = None


class _Said(Struct):
    """A delta or a message."""

    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None


class _Token(Struct):
    token: str
    logprob: float | None = None
    bytes: list[int] | None = None
    top_logprobs: list[_Token] = []


class _Logprobs(Struct):
    content: list[_Token] | None = None


class _Usage(Struct):
    completion_tokens: int = 0
    prompt_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: dict[str, int] | None = None


class _Part(Struct):
    """A choice, or a piece of one."""

    index: int
    finish_reason: str | None = None
    delta: _Said | None = None
    message: _Said | None = None
    logprobs: _Logprobs | None = None


class _Received(Struct):
    """A chunk or a whole reply."""

    choices: list[_Part]
    id: str = ""
    created: int = 0
    model: str = ""
    system_fingerprint: str | None = None
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Received).decode
_encode = msgspec.json.Encoder().encode

# --- what becomes of it ---------------------------------------------------------------------------

_OPENS_NULL = b'"role":"assistant","content":null'
_OPENS_EMPTY = b'"role":"assistant","content":""'


class Opening:
    """The one correction that every plain stream needs: its first content is an empty text, not null."""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due = True

    def whole(self, body: bytes) -> bytes:
        return body

    def event(self, event: bytes) -> bytes:
        if self._due and _OPENS_NULL in event:
            self._due = False
            return event.replace(_OPENS_NULL, _OPENS_EMPTY, 1)
        return event

    def end(self) -> bytes:
        return b""


class ReplyPlan(msgspec.Struct, frozen=True):
    """What a request wants of its reply."""

    reader: Callable[[], GrammarCalls | FreeCalls] | None = None
    """Makes what reads calls out of a choice's text; None where llama.cpp did, or none are wanted."""
    legacy: bool = False
    """The client speaks of `functions`: a call is told as `function_call`."""
    top_logprobs: int | None = None
    """How many alternatives the client wants at each token; None where no log probabilities are wanted."""
    single: bool = False
    """One call at most: llama.cpp may read several where it was told not to."""


class _Choice:
    """One choice's progress."""

    __slots__ = ("calls", "opened", "reader")

    def __init__(self, reader: GrammarCalls | FreeCalls | None) -> None:
        self.reader = reader
        self.calls = 0
        self.opened = False


class Reply:
    """Translates one reply, streamed or whole; implements `headgate.core.ports.Translator`."""

    def __init__(self, plan: ReplyPlan) -> None:
        self._plan = plan
        self._choices: dict[int, _Choice] = {}
        self._shared: Chunk = {}
        self._usage: _Usage | None = None

    # --- a stream ----------------------------------------------------------------------------------

    def event(self, event: bytes) -> bytes:
        """One event, to zero or more."""
        data = payload(event)
        if data is None:
            return event
        if data.strip() == b"[DONE]":
            return self.end() + DONE
        try:
            received = _decode(data)
        except msgspec.DecodeError:
            return event  # an error, or what whoever reads along will leave out
        return b"".join([sse_event(_encode(made)) for made in self._chunks(received)])

    def end(self) -> bytes:
        """The usage of all choices, which llama.cpp reports one by one."""
        if self._usage is None:
            return b""
        usage, self._usage = self._usage, None
        return sse_event(_encode({**self._shared, "choices": [], "usage": usage}))

    # --- a whole reply -----------------------------------------------------------------------------

    def whole(self, body: bytes) -> bytes:
        """A reply as JSON, or the transcript of a stream, to a whole reply."""
        received = [_decode(body)] if body.lstrip().startswith(b"{") else _transcript(body)
        fold = _Fold()
        for chunk in received:
            for made in self._chunks(chunk):
                fold.add(made)
        return _encode(
            {**self._shared, "object": "chat.completion", "choices": fold.choices(), "usage": self._usage}
        )

    # --- both --------------------------------------------------------------------------------------

    def _chunks(self, received: _Received) -> list[Chunk]:
        if not self._shared:
            self._shared = {
                "id": received.id,
                "object": "chat.completion.chunk",
                "created": received.created,
                "model": received.model,
                "system_fingerprint": received.system_fingerprint,
            }
        if received.usage is not None:
            self._usage = received.usage if self._usage is None else _sum(self._usage, received.usage)
        return [
            {**self._shared, "choices": [part]} for choice in received.choices for part in self._parts(choice)
        ]

    def _parts(self, choice: _Part) -> list[Chunk]:
        """One choice of a chunk, to zero or more of the same index."""
        index, finish = choice.index, choice.finish_reason
        state = self._choices.get(index)
        if state is None:
            reader = self._plan.reader() if self._plan.reader else None
            state = self._choices[index] = _Choice(reader)
        said = choice.delta or choice.message or _Said()
        logprobs = self._logprobs(choice.logprobs)
        deltas: list[Chunk] = []
        if not state.opened:
            state.opened = True
            deltas.append({"role": "assistant", "content": ""})
        if said.reasoning_content:
            deltas.append({"reasoning_content": said.reasoning_content})
        if state.reader is not None:
            pieces = state.reader.feed(said.content or "")
            if finish is not None:
                pieces += state.reader.end()
            deltas += self._tell(state, index, pieces)
        elif said.content or logprobs:
            deltas.append({"content": said.content or ""})
        deltas += self._pass_on(state, said.tool_calls or [])
        if finish is not None:
            deltas.append({})
            if state.calls and finish in ("stop", "tool_calls"):
                finish = "function_call" if self._plan.legacy else "tool_calls"
        parts: list[Chunk] = [{"index": index, "delta": made, "finish_reason": None} for made in deltas]
        if finish is not None:
            parts[-1]["finish_reason"] = finish
        if logprobs is not None:
            bearer = next(
                (part for part in parts if part["delta"].get("content")), parts[-1] if parts else None
            )
            if bearer is not None:
                bearer["logprobs"] = logprobs
        return parts

    def _tell(self, state: _Choice, index: int, pieces: list[Piece]) -> list[Chunk]:
        deltas: list[Chunk] = []
        for piece in pieces:
            match piece:
                case Text(text):
                    deltas.append({"content": text})
                case Call(name):
                    state.calls += 1
                    # Random, and different for every call of a reply.
                    number = f"call_{str(self._shared.get('id', ''))[-24:]}{index}{state.calls}"
                    deltas.append(self._call_delta(state.calls - 1, number, name, ""))
                case Arguments(text):
                    deltas.append(self._call_delta(state.calls - 1, None, None, text))
        return deltas

    def _pass_on(self, state: _Choice, calls: list[_Call]) -> list[Chunk]:
        """Calls that llama.cpp read by itself: an id, a name and arguments at once, or more arguments."""
        deltas: list[Chunk] = []
        for place, call in enumerate(calls):
            index = place if call.index is None else call.index
            state.calls = max(state.calls, index + 1)
            if index == 0 or not self._plan.single:
                function = call.function
                deltas.append(self._call_delta(index, call.id, function.name, function.arguments or ""))
        return deltas

    def _call_delta(self, index: int, number: str | None, name: str | None, arguments: str) -> Chunk:
        function = {"name": name, "arguments": arguments} if name is not None else {"arguments": arguments}
        if self._plan.legacy:
            return {"function_call": function}
        if name is None:
            return {"tool_calls": [{"index": index, "function": function}]}
        return {"tool_calls": [{"index": index, "id": number, "type": "function", "function": function}]}

    def _logprobs(self, found: _Logprobs | None) -> Chunk | None:
        top = self._plan.top_logprobs
        if top is None or found is None or not found.content:
            return None
        return {
            "content": [
                {**_plain(token), "top_logprobs": [_plain(other) for other in token.top_logprobs[:top]]}
                for token in found.content
            ],
            "refusal": None,
        }


def _plain(token: _Token) -> Chunk:
    return {"token": token.token, "logprob": token.logprob, "bytes": token.bytes}


def _sum(one: _Usage, other: _Usage) -> _Usage:
    """The usage of two choices: one prompt, two answers."""
    completion = one.completion_tokens + other.completion_tokens
    return msgspec.structs.replace(
        one, completion_tokens=completion, total_tokens=one.prompt_tokens + completion
    )


def _transcript(body: bytes) -> list[_Received]:
    """The chunks of a complete stream; raises UpstreamFailed when it was not."""
    chunks: list[_Received] = []
    for event in events(body):
        data = payload(event)
        if data is None:
            continue
        if data.strip() == b"[DONE]":
            return chunks
        try:
            chunks.append(_decode(data))
        except msgspec.DecodeError:
            raise UpstreamFailed("The model failed in mid-reply.") from None
    raise UpstreamFailed("The model's reply broke off.")


class _Fold:
    """Puts chunks together to whole choices."""

    def __init__(self) -> None:
        self._choices: dict[int, Chunk] = {}

    def add(self, chunk: Chunk) -> None:
        for part in chunk["choices"]:
            choice = self._choices.setdefault(
                part["index"],
                {"index": part["index"], "message": {"role": "assistant", "content": None, "refusal": None},
                 "logprobs": None, "finish_reason": None},
            )  # fmt: skip
            _fold_delta(choice["message"], part["delta"])
            choice["finish_reason"] = part["finish_reason"] or choice["finish_reason"]
            if part.get("logprobs"):
                if choice["logprobs"] is None:
                    choice["logprobs"] = {"content": [], "refusal": None}
                choice["logprobs"]["content"] += part["logprobs"]["content"]

    def choices(self) -> list[Chunk]:
        """In the order of their indices. A message that only calls has no content, not an empty one."""
        found = [self._choices[index] for index in sorted(self._choices)]
        for choice in found:
            message = choice["message"]
            if not message["content"] and (message.get("tool_calls") or message.get("function_call")):
                message["content"] = None
        return found


def _fold_delta(message: Chunk, delta: Chunk) -> None:
    for name, value in delta.items():
        match name:
            case "tool_calls":
                calls = message.setdefault("tool_calls", [])
                for call in value:
                    _fold_call(calls, call)
            case "function_call":
                known = message.setdefault("function_call", {"name": "", "arguments": ""})
                known["name"] += value.get("name", "")
                known["arguments"] += value["arguments"]
            case "role":
                pass
            case _ if isinstance(value, str):
                message[name] = (message.get(name) or "") + value
            case _:
                message[name] = value


def _fold_call(calls: list[Chunk], call: Chunk) -> None:
    if call["index"] == len(calls):
        calls.append({"id": call["id"], "type": "function", "function": {"name": "", "arguments": ""}})
    function = calls[call["index"]]["function"]
    function["name"] += call["function"].get("name", "")
    function["arguments"] += call["function"]["arguments"]
