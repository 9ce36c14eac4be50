"""Converse's stream of events as chat completion chunks, one event at a time.

Source: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html, in the form
that `bedrock_frames` makes of the frames. Text, thoughts and arguments are handed on as the JSON strings that
came, undecoded: they are most of every stream.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from headgate.core.sse import DONE, payload
from headgate.dialects.bedrock_error import event_code
from headgate.dialects.bedrock_reply import (
    BROKEN,
    NO_ANSWER,
    NULL,
    ReplyPlan,
    ToolUse,
    UsageSeen,
    finish_reason,
    refusal_text,
    thought,
    whole_reply,
)


class _ToolInput(Struct):
    input: Raw = NULL


class _ReasoningDelta(Struct, rename="camel"):
    text: Raw = NULL
    signature: str | None = None
    redacted_content: str | None = None


class _Delta(Struct, rename="camel"):
    text: Raw = NULL
    tool_use: _ToolInput | None = None
    reasoning_content: _ReasoningDelta | None = None


class _Piece(Struct, rename="camel"):
    delta: _Delta
    content_block_index: int = 0


class _Start(Struct, rename="camel"):
    tool_use: ToolUse | None = None


class _Begun(Struct, rename="camel"):
    start: _Start
    content_block_index: int = 0


class _Ended(Struct, rename="camel"):
    content_block_index: int = 0


class _Stopped(Struct, rename="camel"):
    stop_reason: str = ""


class _Metadata(Struct):
    usage: UsageSeen | None = None


class _Event(Struct, rename="camel"):
    """One of these is there; an exception is none of them."""

    content_block_delta: _Piece | None = None
    content_block_start: _Begun | None = None
    content_block_stop: _Ended | None = None
    message_start: Raw = NULL
    message_stop: _Stopped | None = None
    metadata: _Metadata | None = None


_decode = msgspec.json.Decoder(_Event).decode
_names = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode

_EMPTY = b'""'
_END = b'},"finish_reason":null}]}\n\n'


class _Open:
    """A block that has begun and not ended."""

    __slots__ = ("call", "redacted", "said", "signature", "thoughts", "used")

    def __init__(self, used: ToolUse | None = None) -> None:
        self.used = used
        """The call that it is; None for another block."""
        self.call: int | None = None
        """Its place among the calls; None for what is not told as a call."""
        self.said = False
        """A piece of a call's arguments has gone out."""
        self.thoughts: list[bytes] = []
        """Insides of JSON strings: together, the thought that the signature at the end belongs to."""
        self.signature: str | None = None
        self.redacted: str | None = None


class Reply:
    """Translates one reply, streamed or whole; implements `headgate.core.ports.Translator`."""

    __slots__ = ("_blocks", "_calls", "_finished", "_head", "_lead", "_plan", "_said", "_thoughts", "_usage")

    def __init__(self, plan: ReplyPlan) -> None:
        self._plan = plan
        self._head: dict[str, Any] = {
            "id": plan.number,
            "object": "chat.completion.chunk",
            "created": plan.created_s,
            "model": plan.model,
        }
        self._lead = b""
        """The bytes with which every chunk begins, up to the delta's members; empty until the first."""
        self._blocks: dict[int, _Open] = {}
        self._calls = 0
        self._thoughts = 0
        self._said = False
        self._usage: UsageSeen | None = None
        self._finished = False

    def whole(self, body: bytes) -> bytes:
        """A whole reply as a chat completion."""
        return whole_reply(body, self._plan)

    def event(self, event: bytes) -> bytes:
        """One event, to zero or more; what is not known or not JSON becomes nothing."""
        data = payload(event)
        if data is None:
            return b""
        try:
            found = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return b""
        if found.content_block_delta is not None:
            return self._piece(found.content_block_delta)
        if found.content_block_start is not None:
            return self._begin_block(found.content_block_start)
        if found.content_block_stop is not None:
            return self._end_block(found.content_block_stop.content_block_index)
        if found.message_stop is not None:
            return self._stop(found.message_stop.stop_reason)
        if found.metadata is not None:
            self._usage = found.metadata.usage
            return self.end()
        if found.message_start != NULL:
            return self._open()
        return _told(data)

    def end(self) -> bytes:
        """The usage and the end, once, when the reply has said why it stopped."""
        if not self._finished:
            return b""
        self._finished = False
        if self._usage is None:
            return DONE
        return b"data: %b\n\n" % _encode({**self._head, "choices": [], "usage": self._usage.written()}) + DONE

    def _open(self) -> bytes:
        """The first chunk, whenever the first thing comes."""
        if self._lead:
            return b""
        self._lead = b'data: %b,"choices":[{"index":0,"delta":{' % _encode(self._head)[:-1]
        return self._lead + b'"role":"assistant","content":""' + _END

    def _stop(self, reason: str) -> bytes:
        if reason in BROKEN and not self._said and not self._calls:
            detail = {"message": NO_ANSWER, "type": "api_error", "param": None, "code": "upstream_error"}
            return b"data: %b\n\n" % _encode({"error": detail})
        self._finished = True
        out = self._open()
        refused = refusal_text(reason)
        if refused is not None:
            out += self._chunk({"refusal": refused})
        finish = finish_reason(reason, plan=self._plan, called=self._calls > 0)
        return out + self._lead + b'},"finish_reason":"%b"}]}\n\n' % finish.encode()

    # --- blocks -----------------------------------------------------------------------------------

    def _begin_block(self, begun: _Begun) -> bytes:
        out = self._open()
        used = begun.start.tool_use
        state = self._blocks[begun.content_block_index] = _Open(used)
        if used is None or used.type is not None or used.name == self._plan.answer_tool:
            return out
        state.call = self._calls
        self._calls += 1
        function = {"name": used.name, "arguments": ""}
        if self._plan.legacy:
            return out + (self._chunk({"function_call": function}) if state.call == 0 else b"")
        call = {"index": state.call, "id": used.tool_use_id, "type": "function", "function": function}
        return out + self._chunk({"tool_calls": [call]})

    def _piece(self, piece: _Piece) -> bytes:
        out = self._open()
        delta = piece.delta
        text = bytes(delta.text)
        if text.startswith(b'"'):
            if text == _EMPTY:
                return out
            self._said = True
            return out + self._lead + b'"content":' + text + _END
        if delta.tool_use is not None:
            state = self._blocks.get(piece.content_block_index)
            return out if state is None else out + self._arguments(state, bytes(delta.tool_use.input))
        if delta.reasoning_content is not None:
            # Only calls are told to begin; other blocks begin with their first piece.
            state = self._blocks.setdefault(piece.content_block_index, _Open())
            return out + self._think(state, delta.reasoning_content)
        return out

    def _think(self, state: _Open, found: _ReasoningDelta) -> bytes:
        if found.signature is not None:
            state.signature = (state.signature or "") + found.signature
        if found.redacted_content is not None:
            state.redacted = (state.redacted or "") + found.redacted_content
        text = bytes(found.text)
        if not text.startswith(b'"'):
            return b""
        state.thoughts.append(text[1:-1])
        return b"" if text == _EMPTY else self._lead + b'"reasoning_content":' + text + _END

    def _end_block(self, index: int) -> bytes:
        state = self._blocks.pop(index, None)
        if state is None:
            return b""
        if state.used is not None:
            # A call without arguments has no pieces.
            return b"" if state.said else self._arguments(state, b'"{}"')
        if not state.thoughts and state.signature is None and state.redacted is None:
            return b""
        text = msgspec.json.decode(b'"%b"' % b"".join(state.thoughts), type=str)
        kept = thought(text, state.signature, state.redacted)
        self._thoughts += 1
        return self._chunk({"thinking_blocks": [{"index": self._thoughts - 1, **kept}]})

    def _arguments(self, state: _Open, text: bytes) -> bytes:
        """A piece of a call's arguments, or of the answer that a tool carries; `text` is a JSON string."""
        used = state.used
        if used is None or used.type is not None or text == _EMPTY or not text.startswith(b'"'):
            return b""
        state.said = True
        if state.call is None:
            self._said = True
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

    def _chunk(self, delta: dict[str, Any]) -> bytes:
        return self._lead + _encode(delta)[1:-1] + _END


def _told(data: bytes) -> bytes:
    """An exception as an event for whoever reads along: its words are the upstream's, and stay inside."""
    name = next(iter(_names(data)), "")
    if "xception" not in name:
        return b""
    detail = {
        "message": "The upstream reported an error in mid-stream.",
        "type": "api_error",
        "param": None,
        "code": event_code(name),
    }
    return b"data: %b\n\n" % _encode({"error": detail})
