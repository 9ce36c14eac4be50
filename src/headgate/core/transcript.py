"""What a client has been told so far of a stream, in chunks of OpenAI's format, so that another can go on.

Pure. Chunks are kept raw and read in batches: most streams end well, and nobody asks.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core.estimate import estimate_tokens
from headgate.core.sse import events, payload

KEPT_BYTES = 32_768
"""Raw events that are kept before they are read: a chunk is ten times as long as its words."""

TEXT_CHARACTERS = 1_048_576
"""The longest answer that is gone on with: no model writes more, and the memory of a stream is bounded."""

REASONING = frozenset(("reasoning_content", "reasoning", "reasoning_details"))
"""Where servers put what a model thinks."""

HARMLESS = frozenset(("role",))


ABSENT = msgspec.Raw(b"null")


class Heading(msgspec.Struct, frozen=True):
    """What every chunk of a stream repeats."""

    id: msgspec.Raw = ABSENT
    created: msgspec.Raw = ABSENT
    model: msgspec.Raw = ABSENT
    system_fingerprint: msgspec.Raw = ABSENT


class Beginning(msgspec.Struct, frozen=True):
    """The beginning of an answer, as far as it has gone to the client."""

    heading: Heading = Heading()
    text: str = ""
    text_tokens: int = 0
    """How many tokens `text` is, as far as its pieces tell."""
    reasoning_tokens: int = 0
    """About how many tokens of reasoning were shown."""
    opened: bool = False
    """A first chunk has gone out, with the role in it: what follows must not have another."""

    @property
    def is_empty(self) -> bool:
        """Nothing has been said: any target may begin anew."""
        return not self.text and not self.reasoning_tokens


class _Chunk(msgspec.Struct, gc=False):
    choices: list[dict[str, Any]] | None = None
    id: msgspec.Raw = ABSENT
    created: msgspec.Raw = ABSENT
    model: msgspec.Raw = ABSENT
    system_fingerprint: msgspec.Raw = ABSENT


_decode = msgspec.json.Decoder(_Chunk).decode


class Transcript:
    """Reads along with one stream."""

    __slots__ = ("_heading", "_kept", "_kept_bytes", "_pieces", "_pieces_count", "_reasoning",
                 "_text_characters", "fixed")  # fmt: skip

    def __init__(self) -> None:
        self._heading: Heading | None = None
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._pieces: list[str] = []
        self._text_characters = 0
        self._reasoning = 0
        self._pieces_count = 0
        """Of text."""
        self.fixed = False
        """Something was said that nobody else can go on with: a tool call, a refusal, several choices."""

    def feed(self, block: bytes) -> bool:
        """Takes whole events that go to the client; whether more of them are wanted."""
        self._kept.append(block)
        self._kept_bytes += len(block)
        if self._kept_bytes > KEPT_BYTES:
            self._read()
        return not self.fixed

    def fix(self) -> None:
        """Something was said that nobody else can go on with."""
        self.fixed = True
        self._pieces, self._kept = [], []

    def beginning(self) -> Beginning | None:
        """What was said so far; None when nobody else can go on with it."""
        self._read()
        if self.fixed:
            return None
        text = "".join(self._pieces)
        return Beginning(
            self._heading or Heading(),
            text,
            _tokens(text, self._pieces_count),
            self._reasoning,
            self._heading is not None,
        )

    def _read(self) -> None:
        kept, self._kept, self._kept_bytes = b"".join(self._kept), [], 0
        if self.fixed:
            return
        for event in events(kept):
            data = payload(event)
            if data is not None:
                self._take(data)
        if self._text_characters > TEXT_CHARACTERS:
            self.fixed = True
        if self.fixed:
            self.fix()

    def _take(self, data: bytes) -> None:
        try:
            chunk = _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.fixed = True  # the client has seen it, and we do not know what it is
            return
        if self._heading is None:
            # Copied: a Raw keeps the whole block.
            self._heading = Heading(
                chunk.id.copy(), chunk.created.copy(), chunk.model.copy(), chunk.system_fingerprint.copy()
            )
        if chunk.choices is None:
            self.fixed = True  # an event of another kind of answer
            return
        for choice in chunk.choices:
            delta = choice.get("delta")
            if choice.get("index", 0) != 0 or not isinstance(delta, dict) or choice.get("finish_reason"):
                self.fixed = True
                return
            for name, value in delta.items():
                self._said(name, value)

    def _said(self, name: str, value: Any) -> None:
        if not value or name in HARMLESS:
            return
        if name == "content" and isinstance(value, str):
            self._pieces.append(value)
            self._pieces_count += 1
            self._text_characters += len(value)
        elif name in REASONING:
            # A list of details repeats what stands beside it as text.
            self._reasoning += estimate_tokens(value) if isinstance(value, str) else 0
        else:
            self.fixed = True


def _tokens(text: str, pieces: int) -> int:
    """Most servers send a piece for each token. Where there are far fewer, they send several in one."""
    estimated = estimate_tokens(text)
    return pieces if pieces * 2 >= estimated else estimated


class Opening:
    """Reads along with one stream as far as anybody may begin it anew: to the end of its first block."""

    _first = b""
    fixed = False
    """More than an opening was said."""

    def feed(self, block: bytes) -> bool:
        """Takes whole events that go to the client; whether more of them are wanted."""
        if self._first:
            self.fix()
            return False
        self._first = block
        return not self.fixed

    def fix(self) -> None:
        """More than an opening was said."""
        self.fixed = True
        self._first = b""

    def beginning(self) -> Beginning | None:
        """The heading, while nothing was said; None when something was."""
        transcript = Transcript()
        transcript.feed(self._first)
        beginning = None if self.fixed else transcript.beginning()
        return beginning if beginning is not None and beginning.is_empty else None
