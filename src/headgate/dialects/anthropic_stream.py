"""Anthropic's stream of events as chat completion chunks, one event at a time.

Source: platform.claude.com/docs/en/build-with-claude/streaming. Text, thoughts and arguments are handed on
as the JSON strings that came, undecoded: they are most of every stream.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from headgate.core.sse import DONE, payload
from headgate.dialects.anthropic_error import event_code
from headgate.dialects.anthropic_reply import (
    NULL,
    Block,
    Message,
    ReplyPlan,
    StopDetails,
    UsageSeen,
    arguments,
    finish_reason,
    thought,
    whole_reply,
)


class _Delta(Struct):
    """A piece of a block, or of the message itself."""

    type: str = ""
    text: Raw = NULL
    partial_json: Raw = NULL
    thinking: Raw = NULL
    signature: str | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class _Event(Struct):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: Block | None = None
    message: Message | None = None
    usage: UsageSeen | None = None
    error: Raw = NULL


class _Error(Struct):
    type: str | None = None


_decode = msgspec.json.Decoder(_Event).decode
_encode = msgspec.json.Encoder().encode

_EMPTY = b'""'
_END = b'},"finish_reason":null}]}\n\n'


class _Open:
    """A block that has begun and not ended."""

    __slots__ = ("block", "call", "said", "thoughts")

    def __init__(self, block: Block) -> None:
        self.block = block
        self.call: int | None = None
        """Its place among the calls; None for what is not told as a call."""
        self.said = False
        """A piece of a call's arguments has gone out."""
        self.thoughts: list[bytes] = []
        """Insides of JSON strings: together, the thought that the signature at the end belongs to."""


class Reply:
    """Translates one reply, streamed or whole; implements `headgate.core.ports.Translator`."""

    __slots__ = ("_blocks", "_calls", "_finished", "_head", "_lead", "_plan", "_thoughts", "_usage")

    def __init__(self, plan: ReplyPlan) -> None:
        self._plan = plan
        self._head: dict[str, Any] | None = None
        """What all chunks share; None until the first."""
        self._lead = b""
        """The bytes with which every chunk begins, up to the delta's members."""
        self._blocks: dict[int, _Open] = {}
        self._calls = 0
        self._thoughts = 0
        self._usage: UsageSeen | None = None
        self._finished = False

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
        match found.type:
            case "content_block_delta" if found.delta is not None:
                return self._piece(found.index, found.delta)
            case "content_block_start" if found.content_block is not None:
                return self._begin_block(found.index, found.content_block)
            case "content_block_stop":
                return self._end_block(found.index)
            case "message_start" if found.message is not None:
                return self._begin(found.message)
            case "message_delta":
                return self._change(found)
            case "message_stop":
                return self.end() + DONE
        return _told(found.error) if found.error != NULL else b""

    def end(self) -> bytes:
        """The usage, once, when the reply has said why it stopped."""
        if not self._finished or self._usage is None or self._head is None:
            return b""
        usage, self._usage = self._usage, None
        return b"data: %b\n\n" % _encode({**self._head, "choices": [], "usage": usage.written()})

    # --- the message ------------------------------------------------------------------------------

    def _begin(self, message: Message) -> bytes:
        if message.usage is not None:
            self._usage = message.usage
        return self._open(message.id, message.model)

    def _open(self, number: str = "", model: str = "") -> bytes:
        """The first chunk, whenever the first thing comes."""
        if self._head is not None:
            return b""
        self._head = {
            "id": number,
            "object": "chat.completion.chunk",
            "created": self._plan.created_s,
            "model": model or self._plan.model,
        }
        self._lead = b'data: %b,"choices":[{"index":0,"delta":{' % _encode(self._head)[:-1]
        return self._lead + b'"role":"assistant","content":""' + _END

    def _change(self, found: _Event) -> bytes:
        if found.usage is not None:
            if self._usage is None:
                self._usage = found.usage
            else:
                self._usage.update(found.usage)
        delta = found.delta
        if delta is None or delta.stop_reason is None or self._finished:
            return b""
        self._finished = True
        out = self._open()
        if delta.stop_details is not None and delta.stop_details.explanation:
            out += self._chunk({"refusal": delta.stop_details.explanation})
        finish = finish_reason(delta.stop_reason, plan=self._plan, called=self._calls > 0)
        return out + self._lead + b'},"finish_reason":"%b"}]}\n\n' % finish.encode()

    # --- blocks -----------------------------------------------------------------------------------

    def _begin_block(self, index: int, block: Block) -> bytes:
        out = self._open()
        state = self._blocks[index] = _Open(block)
        if block.type == "text" and block.text:
            return out + self._chunk({"content": block.text})
        if block.type == "thinking" and block.thinking:
            state.thoughts.append(_encode(block.thinking)[1:-1])
            return out + self._chunk({"reasoning_content": block.thinking})
        if block.type != "tool_use":
            return out
        if block.name != self._plan.answer_tool:
            state.call = self._calls
            self._calls += 1
            out += self._call(state.call, block)
        at_once = arguments(block.input)
        if at_once != "{}":
            # Some servers send a call whole, with nothing to follow.
            out += self._arguments(state, _encode(at_once))
        return out

    def _piece(self, index: int, delta: _Delta) -> bytes:
        out = self._open() if self._head is None else b""
        if delta.type == "text_delta":
            return out + self._string(b'"content":', delta.text)
        if delta.type == "input_json_delta":
            state = self._blocks.get(index)
            if state is None or state.block.type != "tool_use":
                return out
            return out + self._arguments(state, bytes(delta.partial_json))
        if delta.type == "thinking_delta":
            text = bytes(delta.thinking)
            if (state := self._blocks.get(index)) is not None and text.startswith(b'"'):
                state.thoughts.append(text[1:-1])
            return out + self._string(b'"reasoning_content":', delta.thinking)
        if delta.type == "signature_delta" and (state := self._blocks.get(index)) is not None:
            state.block.signature = (state.block.signature or "") + (delta.signature or "")
        return out

    def _end_block(self, index: int) -> bytes:
        state = self._blocks.pop(index, None)
        if state is None:
            return b""
        if state.block.type == "tool_use":
            # A call without arguments has no pieces.
            return b"" if state.said else self._arguments(state, b'"{}"')
        if state.thoughts:
            state.block.thinking = msgspec.json.decode(b'"%b"' % b"".join(state.thoughts), type=str)
        kept = thought(state.block)
        if kept is None:
            return b""
        self._thoughts += 1
        return self._chunk({"thinking_blocks": [{"index": self._thoughts - 1, **kept}]})

    # --- chunks -----------------------------------------------------------------------------------

    def _string(self, name: bytes, text: Raw) -> bytes:
        """A chunk with one string, as it came."""
        value = bytes(text)
        if value == _EMPTY or not value.startswith(b'"'):
            return b""
        return self._lead + name + value + _END

    def _chunk(self, delta: dict[str, Any]) -> bytes:
        return self._lead + _encode(delta)[1:-1] + _END

    def _call(self, place: int, block: Block) -> bytes:
        function = {"name": block.name or "", "arguments": ""}
        if self._plan.legacy:
            return self._chunk({"function_call": function}) if place == 0 else b""
        call = {"index": place, "id": block.id or "", "type": "function", "function": function}
        return self._chunk({"tool_calls": [call]})

    def _arguments(self, state: _Open, text: bytes) -> bytes:
        """A piece of a call's arguments, or of the answer that a tool carries; `text` is a JSON string."""
        if text == _EMPTY or not text.startswith(b'"'):
            return b""
        state.said = True
        if state.call is None:
            return self._lead + b'"content":' + text + _END
        if self._plan.legacy:
            if state.call > 0:
                return b""  # the old form has room for one
            return self._lead + b'"function_call":{"arguments":%b}' % text + _END
        return (
            self._lead
            + b'"tool_calls":[{"index":%d,"function":{"arguments":%b}}]' % (state.call, text)
            + _END
        )


def _told(error: Raw) -> bytes:
    """An error as an event for whoever reads along: its words are the upstream's, and stay inside."""
    try:
        kind = msgspec.json.decode(error, type=_Error).type
    except msgspec.DecodeError:
        kind = None
    detail = {
        "message": "The upstream reported an error in mid-stream.",
        "type": "api_error",
        "param": None,
        "code": event_code(kind),
    }
    return b"data: %b\n\n" % _encode({"error": detail})
