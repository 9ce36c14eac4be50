"""Cohere's stream of events as chat completion chunks, one event at a time.

Source: docs.cohere.com/v2/docs/streaming and .../tool-use-streaming. Text, thoughts and arguments are handed
on as the JSON strings that came, undecoded: they are most of every stream.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from headgate.core.sse import DONE, payload
from headgate.dialects.cohere_reply import (
    BROKEN,
    NO_ANSWER,
    NULL,
    Function,
    Likely,
    ReplyPlan,
    ToolCall,
    UsageSeen,
    annotated,
    finish_reason,
    whole_reply,
    written_logprobs,
)


class _Content(Struct):
    text: Raw = NULL
    thinking: Raw = NULL


class _Message(Struct):
    content: _Content | None = None
    tool_plan: Raw = NULL
    tool_calls: ToolCall | None = None
    citations: Raw = NULL


class _Delta(Struct):
    message: _Message | None = None
    finish_reason: str | None = None
    usage: UsageSeen | None = None


class _Event(Struct):
    type: str = ""
    id: str = ""
    index: int = 0
    delta: _Delta | None = None
    logprobs: Likely | None = None


_decode = msgspec.json.Decoder(_Event).decode
_encode = msgspec.json.Encoder().encode

_EMPTY = b'""'
_END = b'},"finish_reason":null}]}\n\n'


class _Open:
    """A call that has begun and not ended."""

    __slots__ = ("place", "said")

    def __init__(self, place: int | None) -> None:
        self.place = place
        """Its place among the calls; None for the one that carries the answer."""
        self.said = False
        """A piece of its arguments has gone out."""


class Reply:
    """Translates one reply, streamed or whole; implements `headgate.core.ports.Translator`."""

    __slots__ = ("_calls", "_head", "_lead", "_open", "_plan", "_planned", "_said")

    def __init__(self, plan: ReplyPlan) -> None:
        self._plan = plan
        self._head: dict[str, Any] = {}
        """What all chunks share; empty until the first."""
        self._lead = b""
        """The bytes with which every chunk begins, up to the delta's members."""
        self._open: dict[int, _Open] = {}
        self._calls = 0
        self._said = False
        self._planned: list[bytes] = []
        """Insides of JSON strings: together, what the model planned to do with its tools."""

    def whole(self, body: bytes) -> bytes:
        """A whole reply as a chat completion."""
        return whole_reply(body, self._plan)

    def event(self, event: bytes) -> bytes:
        """One event, to zero or more; what is not known or not JSON becomes nothing."""
        data = payload(event)
        if data is None:
            return event if event.startswith(b":") else b""
        try:
            found = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return b""
        if found.type == "message-start":
            return self._begin(found)
        if found.delta is None:
            return self._end_call(found.index) if found.type == "tool-call-end" else b""
        if found.type == "message-end":
            return self._finish(found, found.delta)
        return b"" if found.delta.message is None else self._told(found, found.delta.message)

    def end(self) -> bytes:
        """Nothing: a stream without its `message-end` has broken off."""
        return b""

    # --- the message ------------------------------------------------------------------------------

    def _begin(self, found: _Event) -> bytes:
        """The first chunk, whenever the first thing comes."""
        if self._head:
            return b""
        self._head = {
            "id": found.id,
            "object": "chat.completion.chunk",
            "created": self._plan.created_s,
            "model": self._plan.model,
        }
        self._lead = b'data: %b,"choices":[{"index":0,"delta":{' % _encode(self._head)[:-1]
        return self._lead + b'"role":"assistant","content":""' + _END

    def _told(self, found: _Event, message: _Message) -> bytes:
        out = self._begin(found)
        match found.type:
            case "content-delta" | "content-start" if message.content is not None:
                return out + self._content(message.content, found.logprobs)
            case "tool-call-delta" if message.tool_calls is not None:
                return out + self._piece(found.index, message.tool_calls.function or Function())
            case "tool-call-start" if message.tool_calls is not None:
                return out + self._begin_call(found.index, message.tool_calls)
            case "tool-plan-delta":
                return out + self._plan_on(message.tool_plan)
            case "citation-start":
                return out + self._cite(message.citations)
        return out

    def _finish(self, found: _Event, delta: _Delta) -> bytes:
        reason = delta.finish_reason or ""
        if reason == "ERROR" or (reason in BROKEN and not self._said and not self._calls):
            code = "upstream_timeout" if reason == "TIMEOUT" else "upstream_error"
            detail = {"message": NO_ANSWER, "type": "api_error", "param": None, "code": code}
            return b"data: %b\n\n" % _encode({"error": detail})
        out = self._begin(found)
        if self._planned and not self._plan.legacy:
            plan = b'"%b"' % b"".join(self._planned)
            out += self._lead + b'"tool_plan":' + plan + _END
        finish = finish_reason(reason, plan=self._plan, called=self._calls > 0)
        out += self._lead + b'},"finish_reason":"%b"}]}\n\n' % finish.encode()
        if delta.usage is not None:
            last = {**self._head, "choices": [], "usage": delta.usage.written()}
            out += b"data: %b\n\n" % _encode(last)
        return out + DONE

    def _content(self, content: _Content, likely: Likely | None) -> bytes:
        text = bytes(content.text)
        out = b""
        if text.startswith(b'"') and text != _EMPTY:
            self._said = True
            if likely is not None:
                told = _encode(written_logprobs([likely]))
                return self._lead + b'"content":%b},"logprobs":%b,"finish_reason":null}]}\n\n' % (text, told)
            out = self._lead + b'"content":' + text + _END
        thought = bytes(content.thinking)
        if thought.startswith(b'"') and thought != _EMPTY:
            out += self._lead + b'"reasoning_content":' + thought + _END
        return out

    def _plan_on(self, plan: Raw) -> bytes:
        text = bytes(plan)
        if not text.startswith(b'"') or text == _EMPTY:
            return b""
        self._planned.append(text[1:-1])
        return self._lead + b'"reasoning_content":' + text + _END

    def _cite(self, citation: Raw) -> bytes:
        if citation == NULL:
            return b""
        delta: dict[str, Any] = {"citations": [citation]}
        notes = annotated(citation)
        if notes:
            delta["annotations"] = notes
        return self._chunk(delta)

    # --- calls ------------------------------------------------------------------------------------

    def _begin_call(self, index: int, call: ToolCall) -> bytes:
        function = call.function or Function()
        if function.name == self._plan.answer_tool:
            self._open[index] = _Open(None)
            return self._piece(index, function)
        place = self._calls
        self._open[index] = _Open(place)
        self._calls += 1
        begun = {"name": function.name, "arguments": ""}
        out = b""
        if not self._plan.legacy:
            told = {"index": place, "id": call.id, "type": "function", "function": begun}
            out = self._chunk({"tool_calls": [told]})
        elif place == 0:
            out = self._chunk({"function_call": begun})
        return out + self._piece(index, function)

    def _piece(self, index: int, function: Function) -> bytes:
        state = self._open.get(index)
        text = bytes(function.arguments)
        if state is None or text == _EMPTY or not text.startswith(b'"'):
            return b""
        state.said = True
        if state.place is None:
            self._said = True
            return self._lead + b'"content":' + text + _END
        if self._plan.legacy:
            if state.place > 0:
                return b""  # the old form has room for one
            return self._lead + b'"function_call":{"arguments":%b}' % text + _END
        return (
            self._lead
            + b'"tool_calls":[{"index":%d,"function":{"arguments":%b}}]' % (state.place, text)
            + _END
        )

    def _end_call(self, index: int) -> bytes:
        state = self._open.get(index)
        out = b""
        if state is not None and not state.said:
            # A call without arguments has no pieces.
            out = self._piece(index, Function(arguments=Raw(b'"{}"')))
        self._open.pop(index, None)
        return out

    def _chunk(self, delta: dict[str, Any]) -> bytes:
        return self._lead + _encode(delta)[1:-1] + _END
