"""Watches a reply on its way to the client: usage, errors, the end; estimates where usage never comes.

Pure. Events get a few cheap byte scans; only those that may hold usage or an error are decoded.
"""

from __future__ import annotations

import re

import msgspec

from headgate.core.errors import UpstreamFailed
from headgate.core.estimate import estimate_prompt_tokens, estimate_tokens
from headgate.core.sse import DONE, events, payload
from headgate.core.usage import Source, Usage, UsageObject, odd_usage

KEPT_BYTES = 32_768
"""Raw events kept per stream for an estimate, folded into a running count when full."""

USAGE_TRIES = 4
"""Objects called `usage` that are looked at in a large reply's tail: OpenAI's is the last one."""

USAGE_BRACES = 16
"""Closing braces that are tried as the end of one: it holds two objects, vendors add a few."""

# Upstreams that were asked for usage send `"usage":null` in every other chunk.
_USAGE_OBJECT = re.compile(rb'"usage"\s*:\s*\{')

# Comments, blank lines, fields of the standard. Anything else is no stream, such as a proxy's page of HTML.
_WITHOUT_DATA = re.compile(rb"(?:(?::[^\r\n]*|(?:event|id|retry)(?::[^\r\n]*)?)?[\r\n])*")

_FINISH_REASON = re.compile(rb'"finish_reason"\s*:\s*"')

# What a model says, in content, reasoning, tool calls and legacy completions.
_SAID = re.compile(
    rb'"(?:content|reasoning_content|refusal|name|arguments|text)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"'
)


_NULL = msgspec.Raw(b"null")
_EMPTY = msgspec.Raw(b"[]")


class _Chunk(msgspec.Struct, gc=False):
    choices: list[msgspec.Raw] | None = None
    usage: UsageObject | None = None
    error: msgspec.Raw = _NULL


class _OddChunk(msgspec.Struct, gc=False):
    choices: msgspec.Raw = _NULL
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL


class _Whole(msgspec.Struct, gc=False):
    usage: UsageObject | None = None
    error: msgspec.Raw = _NULL


class _OddWhole(msgspec.Struct, gc=False):
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_odd_chunk = msgspec.json.Decoder(_OddChunk).decode
_decode_whole = msgspec.json.Decoder(_Whole).decode
_decode_odd_whole = msgspec.json.Decoder(_OddWhole).decode


class StreamTap:
    """Reads along with one stream."""

    __slots__ = (
        "_choices", "_estimated_tokens", "_finish_reasons", "_kept", "_kept_bytes", "_prompt_bytes",
        "_usage_chunk", "_withhold_usage", "done", "error", "malformed", "usage",
    )  # fmt: skip

    closing = DONE
    """What ends the stream for the client."""

    def __init__(self, *, withhold_usage: bool, prompt_bytes: int, choices: int = 1) -> None:
        self._withhold_usage = withhold_usage
        self._prompt_bytes = prompt_bytes
        self._choices = choices
        self._finish_reasons = 0
        self._usage_chunk = False
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._estimated_tokens = 0
        self.usage: Usage | None = None
        """The last usage that was reported."""
        self.error: bytes | None = None
        """The data of an error event; it is not passed on."""
        self.done = False
        """`[DONE]` has come; it is not passed on."""
        self.malformed = 0
        """Events left out because they were none, or their data was not a JSON object."""

    def scan(self, block: bytes) -> bytes:
        """Looks at a block of whole events and returns what the client may see of it."""
        plain = block if _is_word(block) else _plain(block)
        if plain:
            self._kept.append(plain)
            self._kept_bytes += len(plain)
            if self._kept_bytes > KEPT_BYTES:
                self._fold()
            if plain is block:
                return block
            block = block[len(plain) :]
        return b"".join([plain, *map(self._look, events(block))])

    def counted(self, *, complete: bool) -> Usage:
        """The usage to account for, reported or else estimated."""
        if self.usage is not None:
            return self.usage
        self._fold()
        return Usage(
            Source.ESTIMATED if complete else Source.PARTIAL,
            input_tokens=estimate_prompt_tokens(self._prompt_bytes),
            output_tokens=self._estimated_tokens,
        )

    @property
    def finished(self) -> bool:
        """Every choice has said why it stopped: a stream without `[DONE]` is complete all the same."""
        self._fold()
        return self._usage_chunk or self._finish_reasons >= self._choices

    def _look(self, event: bytes) -> bytes:
        data = payload(event)
        if self.done or self.error is not None:
            return b""
        if data is None:
            if _WITHOUT_DATA.fullmatch(event):
                return event
            self.malformed += 1
            return b""
        if data.strip() == b"[DONE]":
            self.done = True
            return b""
        try:
            chunk = _decode_chunk(data)
        except msgspec.ValidationError:
            return self._odd(event, data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.malformed += 1
            return b""
        if chunk.error != _NULL:
            self.error = data
            return b""
        if chunk.usage is not None:
            self.usage = chunk.usage.counted()
            if not chunk.choices:
                self._usage_chunk = True
                return b"" if self._withhold_usage else event
        self._keep(event)
        return event

    def _odd(self, event: bytes, data: bytes) -> bytes:
        """JSON, but not as we know it: an object passes, for vendors extend it; anything else is left out."""
        try:
            chunk = _decode_odd_chunk(data)
        except msgspec.ValidationError:
            self.malformed += 1
            return b""
        if chunk.error != _NULL:
            self.error = data
            return b""
        usage = odd_usage(chunk.usage)
        if usage is not None:
            self.usage = usage
            if chunk.choices in (_NULL, _EMPTY):
                self._usage_chunk = True
                return b"" if self._withhold_usage else event
        self._keep(event)
        return event

    def _keep(self, block: bytes) -> None:
        self._kept.append(block)
        self._kept_bytes += len(block)
        if self._kept_bytes > KEPT_BYTES:
            self._fold()

    def _fold(self) -> None:
        raw = b"".join(self._kept)
        # Nearly every chunk has one that is null. Counting these takes a fifth of the expression's time.
        if raw.count(b'"finish_reason"') != raw.count(b'"finish_reason":null'):
            self._finish_reasons += len(_FINISH_REASON.findall(raw))
        if self.usage is None:
            self._estimated_tokens += said_tokens(raw)
        self._kept = []
        self._kept_bytes = 0


def _is_word(block: bytes) -> bool:
    """Whether a block is a single event as most are: `_plain` would find the same with twice the searches."""
    return (
        block.startswith(b"data: {")
        and block.find(b"\n") == len(block) - 2
        and block.endswith(b"}\n\n")
        and b'"usage"' not in block
        and b'"error"' not in block
    )


def _plain(block: bytes) -> bytes:
    """The events at the block's start that need no closer look.

    Each of them is one line of data, a JSON object by its braces, without usage or error.
    """
    end = len(block)
    if block.endswith(DONE):
        end -= len(DONE)
    error = block.find(b'"error"', 0, end)
    if error >= 0:
        end = block.rfind(b"\n\n", 0, error) + 2
    usages = block.count(b'"usage"', 0, end)
    if usages:
        usage = _usage_at(block, end, usages)
        if usage >= 0:
            end = block.rfind(b"\n\n", 0, usage) + 2
    plain = block if end == len(block) else block[:end]
    if plain.startswith(b"data: {") and plain.endswith(b"}\n\n"):
        if plain.find(b"\n") == len(plain) - 2:
            return plain
        # Between such events stands nothing but this; no other line end may be left. Counting is slower.
        rest = plain.replace(b"}\n\ndata: {", b"")
        if rest.find(b"\n") == len(rest) - 2:
            return plain
    return b""


def _usage_at(block: bytes, end: int, usages: int) -> int:
    """Where the first usage that is not null may stand, of so many in a block up to `end`; -1 for none."""
    if usages == 1:
        # Usually in one of the last events, so this search is short.
        at = block.rfind(b'"usage"', 0, end)
        return -1 if block.startswith(b":null", at + len(b'"usage"')) else at
    if usages == block.count(b'"usage":null', 0, end):
        return -1
    found = _USAGE_OBJECT.search(block, 0, end)
    return found.start() if found is not None else end


def whole_usage(body: bytes, prompt_bytes: int) -> Usage:
    """The usage of a whole reply, reported or else estimated.

    Raises msgspec.DecodeError when the body is not JSON (what the upstream meant is then unknown), and
    UpstreamFailed when it is an error in spite of its status.
    """
    usage: Usage | None
    try:
        whole = _decode_whole(body)
        error = whole.error
        usage = whole.usage.counted() if whole.usage is not None else None
    except msgspec.ValidationError:
        odd = _decode_odd_whole(body)
        error = odd.error
        usage = odd_usage(odd.usage)
    if error != _NULL:
        raise UpstreamFailed("The upstream reported an error.")
    if usage is not None:
        return usage
    return Usage(
        Source.ESTIMATED,
        input_tokens=estimate_prompt_tokens(prompt_bytes),
        output_tokens=said_tokens(body),
    )


def partial_usage(prompt_bytes: int) -> Usage:
    """The usage of a request whose client left before anything came."""
    return Usage(Source.PARTIAL, input_tokens=estimate_prompt_tokens(prompt_bytes))


def tail_usage(tail: bytes, body_bytes: int, prompt_bytes: int) -> Usage:
    """The usage of a reply too large to keep, looked for in its last bytes, where OpenAI puts it."""
    found = [match.end() - 1 for match in _USAGE_OBJECT.finditer(tail)]
    for opening in reversed(found[-USAGE_TRIES:]):
        usage = _object_at(tail, opening)
        if usage is not None:
            return usage
    return Usage(
        Source.ESTIMATED,
        input_tokens=estimate_prompt_tokens(prompt_bytes),
        output_tokens=estimate_prompt_tokens(body_bytes),
    )


def _object_at(text: bytes, opening: int) -> Usage | None:
    """The usage object that opens there: up to the first brace that makes it whole JSON."""
    close = opening
    for _ in range(USAGE_BRACES):
        close = text.find(b"}", close + 1)
        if close < 0:
            return None
        try:
            return odd_usage(text[opening : close + 1])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # a brace of an object inside
    return None


def said_tokens(raw: bytes) -> int:
    """About how many tokens the model's words in these raw events, or in this raw reply, are.

    The strings are cut out without parsing: it must stay cheap for streams that do report at their end.
    """
    said = b"".join(_SAID.findall(raw))
    if b"\\" in said:
        try:
            return estimate_tokens(msgspec.json.decode(b'"' + said + b'"', type=str))
        except msgspec.DecodeError:
            pass  # half of an escape from a broken event: count the bytes as they are
    return estimate_tokens(said.decode(errors="replace"))
