"""An answer that one upstream began and another goes on with: the request for it, and its chunks made to fit.

Pure, and in OpenAI's format on both sides: how an upstream is asked to go on is its dialect's business.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core.body import Fields, splice
from headgate.core.chat import ChatRequest
from headgate.core.errors import UpstreamFailed
from headgate.core.sse import event, events, payload
from headgate.core.transcript import ABSENT, REASONING, Beginning

LIMITS = ("max_tokens", "max_completion_tokens")

_messages = msgspec.json.Decoder(list[msgspec.Raw]).decode
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_raw_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def can_continue(request: Any) -> bool:
    """Whether an answer to this request can be gone on with in the middle.

    With several choices it would be unclear which, and a format would be begun anew by whoever goes on.
    """
    if not isinstance(request, ChatRequest):
        return False
    wanted = request.response_format
    return (request.n or 1) == 1 and (wanted is None or wanted.type == "text") and request.audio is None


def continued_body(fields: Fields, beginning: Beginning, way: str = "plain") -> bytes | None:
    """The request that asks for the rest; None when the answer is as long as was wanted.

    `way` is how the upstream is asked to go on (`core.quirks.Quirks.prefill`).
    White space at the end of what was said is left out: templates cut it off, some servers refuse it, and a
    model's next word has it in front.
    """
    changes: dict[str, object] = {}
    for name in LIMITS:
        if name in fields:
            limit = _any(fields[name])
            if isinstance(limit, int):
                left = limit - beginning.text_tokens - beginning.reasoning_tokens
                if left <= 0:
                    return None
                changes[name] = left
    text = beginning.text.rstrip()
    if text:
        begun: dict[str, object] = {"role": "assistant", "content": text}
        if way == "continue_final_message":
            changes |= {"continue_final_message": True, "add_generation_prompt": False}
        elif way != "plain":
            begun[way] = True
        changes["messages"] = [*_messages(fields["messages"]), begun]
    return splice(fields, **changes)


def last_chunk(beginning: Beginning) -> bytes:
    """The event that ends an answer which was cut off where it had to end: it is as long as was wanted."""
    heading = beginning.heading
    chunk: dict[str, object] = {
        "id": heading.id,
        "object": "chat.completion.chunk",
        "created": heading.created,
        "model": heading.model,
        "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}],
    }
    return event(_encode(chunk))


class Continuation:
    """Makes the chunks of the upstream that goes on look like those of the one that began."""

    __slots__ = ("_beginning", "_heading", "_space")

    def __init__(self, beginning: Beginning) -> None:
        self._beginning = beginning
        heading = beginning.heading
        named = {name: getattr(heading, name) for name in heading.__struct_fields__}
        self._heading = {name: value for name, value in named.items() if value != ABSENT}
        text = beginning.text
        self._space = text[len(text.rstrip()) :]
        """White space that was said and not sent along: what comes may begin with it again."""

    def rewrite(self, block: bytes) -> bytes:
        """A block of whole events, as the client may see them."""
        try:
            return b"".join([self._rewrite(one) for one in events(block)])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise UpstreamFailed("The upstream's stream cannot be joined to what was said.") from None

    def _rewrite(self, one: bytes) -> bytes:
        data = payload(one)
        if data is None:
            return one
        chunk = _raw_object(data)
        changed: dict[str, object] = {**chunk, **self._heading}
        if "choices" in chunk:
            choices = [self._choice(choice) for choice in _raw_objects(chunk["choices"])]
            kept = [choice for choice in choices if choice is not None]
            if choices and not kept:
                return b""
            changed["choices"] = kept
        usage = chunk.get("usage")
        if usage is not None and bytes(usage).startswith(b"{"):
            changed["usage"] = self._usage(_any(usage))
        return event(_encode(changed))

    def _choice(self, choice: dict[str, msgspec.Raw]) -> dict[str, object] | None:
        """A choice without what the client knows already; None when that was all."""
        delta = _raw_object(choice["delta"]) if "delta" in choice else {}
        kept: dict[str, object] = {}
        for name, value in delta.items():
            if (name == "role" and self._beginning.opened) or (
                name in REASONING and self._beginning.reasoning_tokens
            ):
                continue
            if name == "content":
                text = self._content(_any(value))
                if text:
                    kept[name] = text
            elif bytes(value) != b"null":
                kept[name] = value
        if not kept and bytes(choice.get("finish_reason", b"null")) == b"null":
            return None
        return {**choice, "delta": kept}

    def _content(self, text: Any) -> Any:
        if self._space and isinstance(text, str):
            same = 0
            while same < min(len(text), len(self._space)) and text[same] == self._space[same]:
                same += 1
            # Of a piece that is all of it, the next may be the rest.
            self._space = self._space[same:] if same == len(text) else ""
            return text[same:]
        return text

    def _usage(self, usage: dict[str, Any]) -> dict[str, Any]:
        """One answer's usage: what the second read as its prompt is, in part, what the first has written."""
        beginning = self._beginning
        shown = beginning.text_tokens + beginning.reasoning_tokens
        prompt, completion, total = (
            usage.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
        )
        if isinstance(prompt, int):
            usage["prompt_tokens"] = max(0, prompt - beginning.text_tokens)
        if isinstance(completion, int):
            usage["completion_tokens"] = completion + shown
        if isinstance(total, int):
            usage["total_tokens"] = total + beginning.reasoning_tokens
        return usage
