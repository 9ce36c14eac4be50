"""Writes a conversation as Converse takes it: system apart, turns in alternation, blocks in turns.

Source: docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-call.html and .../tool-use.html.
Must not know the rest of the request.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core import violation
from headgate.core.message import PART_MEMBERS
from headgate.dialects.bedrock_parts import Block, cache_point, media
from headgate.dialects.unsupported import Unsupported

SYSTEM_ROLES = frozenset(("system", "developer"))

ID_CHARACTERS = 64
"""The longest id a call may have there."""

_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_.:-]")


class Conversation(Struct):
    """What a request's messages become."""

    system: list[Block]
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
    """The request's `messages`, as they came, in Converse's form; raises InvalidField."""
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
        self._document_names: set[str] = set()

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
            self._turn("user", _marked([self._result(message, at)], message))
        else:
            raise violation.wrong_value(
                f"{at}.role",
                f"Invalid value: '{violation.quote(message.role)}'. Supported values are: 'system', "
                "'developer', 'user', 'assistant', 'tool' and 'function'.",
            )

    def conversation(self) -> Conversation:
        if not self._turns:
            raise violation.wrong_value(
                "messages", "Invalid value for 'messages': this model needs one that is not a system message."
            )
        messages = [{"role": role, "content": _in_order(blocks)} for role, blocks in self._turns]
        return Conversation(self._system, messages, list(self._called))

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
            return [{"text": content}] if content.strip() else []
        blocks: list[Block] = []
        for index, raw in enumerate(content):
            made = self._blocks(raw, f"{at}.content[{index}]")
            if only_text and any(
                not block.keys() <= {"text", "cachePoint", "guardContent"} for block in made
            ):
                raise violation.wrong_value(
                    f"{at}.content[{index}].type", "Invalid value: system messages hold text only."
                )
            blocks += made
        return blocks

    def _blocks(self, raw: msgspec.Raw, at: str) -> list[Block]:
        """One part's block, and the cache point after it."""
        part = _part(raw)
        if part.type not in PART_MEMBERS:
            # One of Converse's own, such as `video` or `guardContent`: they have no `type` there.
            own = msgspec.json.decode(raw, type=dict[str, Any])
            del own["type"]
            return [own]
        if part.type in ("text", "refusal"):
            text = part.text if part.type == "text" else part.refusal
            if not text or not text.strip():
                return []  # text without a letter is refused there
            block: Block = {"text": text}
        else:
            block = media(raw, part.type, at, self._unsupported, self._document_names)
        if part.cache_control is None and part.prompt_cache_breakpoint is None:
            return [block]
        return [block, cache_point(part.cache_control or {})]

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
        called = {"toolUseId": self._last_call, "name": function.name, "input": msgspec.Raw(text.encode())}
        return {"toolUse": called}

    def _result(self, message: _Message, at: str) -> Block:
        # The old form names the function and no call: it was the last one.
        number = self._last_call if message.tool_call_id is None else _call_id(message.tool_call_id)
        content = [block for block in self._content(message, at) if "cachePoint" not in block]
        return {"toolResult": {"toolUseId": number, "content": content or [{"text": ""}]}}


def _call_id(given: str) -> str:
    """Their ids have fewer letters than others', and fewer of them; the same one every time."""
    made = _NOT_IN_AN_ID.sub(lambda found: f"_{ord(found[0]):x}", given) or "_"
    if len(made) > ID_CHARACTERS:
        made = "call_" + blake2b(given.encode(), digest_size=16).hexdigest()
    return made


def _marked(blocks: list[Block], message: _Message) -> list[Block]:
    """A message's own cache mark stands after its last block."""
    if blocks and message.cache_control is not None:
        blocks.append(cache_point(message.cache_control))
    return blocks


def _thought(given: dict[str, Any]) -> Block | None:
    """A thinking block as it was handed out; without a signature it would be refused."""
    match given:
        case {"type": "thinking", "thinking": str(text), "signature": str(signature)} if signature:
            return {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}
        case {"type": "redacted_thinking", "data": str(data)} if data:
            return {"reasoningContent": {"redactedContent": data}}
    return None


def _in_order(blocks: list[Block]) -> list[Block]:
    """Results before words, words before calls, as models want them; a cache point stays behind its block."""
    groups: list[tuple[int, list[Block]]] = []
    for block in blocks:
        if "cachePoint" in block and groups:
            groups[-1][1].append(block)
        else:
            groups.append((0 if "toolResult" in block else 2 if "toolUse" in block else 1, [block]))
    return [block for _, group in sorted(groups, key=lambda group: group[0]) for block in group]
