"""Writes a conversation as Anthropic's Messages take it: system apart, turns in alternation, blocks in turns.

Sources: platform.claude.com/docs/en/api/messages, .../build-with-claude/vision,
.../agents-and-tools/tool-use/handle-tool-calls. Must not know the rest of the request.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core import violation
from headgate.core.message import PART_MEMBERS
from headgate.dialects.anthropic_parts import Block, mark, media
from headgate.dialects.unsupported import Unsupported

SYSTEM_ROLES = frozenset(("system", "developer"))

_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_-]")


class Conversation(Struct):
    """What a request's messages become."""

    system: str | list[Block]
    """Empty where nobody said anything."""
    messages: list[dict[str, Any]]
    called: list[str]
    """The functions that were called on the way, each once."""


# --- what the client wrote; types of OpenAI's own fields were checked at the door -------------------


class _Function(Struct):
    name: str
    arguments: str


class _Call(Struct):
    id: str
    type: str
    function: _Function | None = None


class _Message(Struct):
    role: str
    content: str | list[msgspec.Raw] | None = None
    name: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    function_call: _Function | None = None
    cache_control: dict[str, Any] | None = None
    thinking_blocks: list[dict[str, Any]] | None = None
    """What our replies carried: thoughts with the signatures that make them count."""


class _Part(Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    cache_control: dict[str, Any] | None = None
    prompt_cache_breakpoint: dict[str, Any] | None = None


_messages = msgspec.json.Decoder(list[_Message]).decode
_part = msgspec.json.Decoder(_Part).decode
_arguments = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def write_conversation(raw: msgspec.Raw | bytes, unsupported: Unsupported) -> Conversation:
    """The request's `messages`, as they came, in Anthropic's form; raises InvalidField."""
    try:
        messages = _messages(raw)
    except msgspec.ValidationError:
        raise violation.wrong_value(
            "messages", "Invalid value for 'messages': 'cache_control' and 'thinking_blocks' hold objects."
        ) from None
    writer = _Writer(unsupported)
    for index, message in enumerate(messages):
        writer.add(message, f"messages[{index}]")
    return writer.conversation()


class _Writer:
    """Puts one message after the other into turns."""

    def __init__(self, unsupported: Unsupported) -> None:
        self._unsupported = unsupported
        self._system: list[Block] = []
        self._turns: list[tuple[str, list[Block]]] = []
        self._called: dict[str, None] = {}
        self._last_call = "call_0"

    def add(self, message: _Message, at: str) -> None:
        if message.name is not None and message.role != "function":
            self._unsupported.hint("messages.name")
        if message.role in SYSTEM_ROLES:
            self._system += _marked(self._content(message, at, only_text=True), message)
        elif message.role == "user":
            self._turn("user", _marked(self._content(message, at), message))
        elif message.role == "assistant":
            self._turn("assistant", _marked(self._said(message, at), message))
        elif message.role in ("tool", "function"):
            self._turn("user", [self._result(message, at)])
        else:
            raise violation.wrong_value(
                f"{at}.role",
                f"Invalid value: '{violation.quote(message.role)}'. Supported values are: 'system', "
                "'developer', 'user', 'assistant', 'tool' and 'function'.",
            )

    def conversation(self) -> Conversation:
        messages = [{"role": role, "content": _plain(_in_order(blocks))} for role, blocks in self._turns]
        if not messages:
            raise violation.wrong_value(
                "messages", "Invalid value for 'messages': this model needs one that is not a system message."
            )
        return Conversation(_plain(self._system), messages, list(self._called))

    def _turn(self, role: str, blocks: list[Block]) -> None:
        if not blocks:
            return  # an empty message is refused there, and says nothing
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(blocks)
        else:
            self._turns.append((role, blocks))

    def _content(self, message: _Message, at: str, *, only_text: bool = False) -> list[Block]:
        content = message.content
        if content is None:
            content = message.refusal or ""
        if isinstance(content, str):
            return [{"type": "text", "text": content}] if content else []
        blocks: list[Block] = []
        for index, raw in enumerate(content):
            block = self._block(raw, f"{at}.content[{index}]")
            if only_text and block is not None and block.get("type") != "text":
                raise violation.wrong_value(
                    f"{at}.content[{index}].type", "Invalid value: system messages hold text only."
                )
            if block is not None:
                blocks.append(block)
        return blocks

    def _block(self, raw: msgspec.Raw, at: str) -> Block | None:
        part = _part(raw)
        if part.type not in PART_MEMBERS:
            # A maker's own part, such as a `document` with citations: not ours to judge.
            return msgspec.json.decode(raw, type=dict[str, Any])
        if part.type in ("text", "refusal"):
            text = part.text if part.type == "text" else part.refusal
            if not text:
                return None  # empty text is refused there
            block: Block = {"type": "text", "text": text}
        else:
            block = media(raw, part.type, at, self._unsupported)
        if part.cache_control is not None or part.prompt_cache_breakpoint is not None:
            block["cache_control"] = part.cache_control or {"type": "ephemeral"}
        return block

    def _said(self, message: _Message, at: str) -> list[Block]:
        blocks = [block for given in message.thinking_blocks or () if (block := _thought(given))]
        blocks += self._content(message, at)
        for index, call in enumerate(message.tool_calls or ()):
            place = f"{at}.tool_calls[{index}]"
            if call.function is None:
                raise violation.wrong_value(
                    f"{place}.type", "This model supports calls of type 'function' only."
                )
            blocks.append(self._call(call.id, call.function, f"{place}.function"))
        if message.function_call is not None:
            number = f"call_{at.removeprefix('messages[')[:-1]}"
            blocks.append(self._call(number, message.function_call, f"{at}.function_call"))
        return blocks

    def _call(self, number: str, function: _Function, at: str) -> Block:
        self._last_call = _call_id(number)
        self._called[function.name] = None
        # Some clients send nothing where there are no arguments.
        text = function.arguments.strip() or "{}"
        try:
            _arguments(text)
        except (msgspec.DecodeError, RecursionError):
            raise violation.wrong_value(
                f"{at}.arguments", f"Invalid '{at}.arguments': expected a JSON object in a string."
            ) from None
        return {
            "type": "tool_use",
            "id": self._last_call,
            "name": function.name,
            "input": msgspec.Raw(text.encode()),
        }

    def _result(self, message: _Message, at: str) -> Block:
        # The old form names the function and no call: it was the last one.
        number = self._last_call if message.tool_call_id is None else _call_id(message.tool_call_id)
        content = _plain(self._content(message, at))
        return mark({"type": "tool_result", "tool_use_id": number, "content": content}, message.cache_control)


def _call_id(given: str) -> str:
    """Their ids have fewer letters than others'; the same one every time, so that call and result meet."""
    return _NOT_IN_AN_ID.sub(lambda found: f"_{ord(found[0]):x}", given) or "_"


def _marked(blocks: list[Block], message: _Message) -> list[Block]:
    """A message's own cache mark belongs to its last block."""
    if blocks and message.cache_control is not None:
        mark(blocks[-1], message.cache_control)
    return blocks


def _thought(given: dict[str, Any]) -> Block | None:
    """A thinking block as it was handed out; without a signature it would be refused."""
    match given:
        case {"type": "thinking", "thinking": str(text), "signature": str(signature)} if signature:
            return {"type": "thinking", "thinking": text, "signature": signature}
        case {"type": "redacted_thinking", "data": str(data)} if data:
            return {"type": "redacted_thinking", "data": data}
    return None


def _in_order(blocks: list[Block]) -> list[Block]:
    """Results before words, words before calls, as the format wants them; else as they came."""
    ranks = {"tool_result": 0, "tool_use": 2}
    return sorted(blocks, key=lambda block: ranks.get(block.get("type", ""), 1))


def _plain(blocks: list[Block]) -> str | list[Block]:
    """Text that stands alone, without a mark, needs no block around it."""
    if not blocks:
        return ""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return str(blocks[0]["text"])
    return blocks
