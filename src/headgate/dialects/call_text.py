"""Reads calls out of a model's text, as it arrives: text before a call, its name, its arguments.

A call is `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`. Must not know the wire format around
the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import msgspec

from headgate.dialects.call_grammar import CLOSING, OPENING

HEADER_CHARACTERS = 1_000
"""From the mark to the arguments of a call that a grammar wrote: names are 64 characters at most."""

_HEADER = re.compile(r'\s*\{\s*"name":\s*(?P<name>"(?:[^"\\]|\\.)*")\s*,\s*"arguments":\s*')
_STRUCTURE = re.compile(r'["{}\[\]]')
_STRING_END = re.compile(r'["\\]')


class Text(msgspec.Struct, frozen=True):
    """Words for the reader."""

    text: str


class Call(msgspec.Struct, frozen=True):
    """A call begins."""

    name: str


class Arguments(msgspec.Struct, frozen=True):
    """A piece of the arguments of the call that began last; together they are JSON."""

    text: str


Piece = Text | Call | Arguments


class GrammarCalls:
    """Reads text that a call grammar wrote: arguments are handed on as they come."""

    def __init__(self) -> None:
        self._state: Callable[[list[Piece]], bool] = self._outside
        self._text = ""
        self._depth = 0
        self._quoted = False

    def feed(self, text: str) -> list[Piece]:
        """What became certain with this text."""
        self._text += text
        pieces: list[Piece] = []
        while self._text and self._state(pieces):
            pass
        return pieces

    def end(self) -> list[Piece]:
        """Nothing waits that a reader could use: what was cut off before a call's arguments is no call."""
        return []

    def _outside(self, _pieces: list[Piece]) -> bool:
        start = self._text.find(OPENING)
        if start < 0:
            # Blanks between calls, or the reasoning that a template forces on the model.
            self._text = self._text[-len(OPENING) + 1 :]
            return False
        self._text = self._text[start + len(OPENING) :]
        self._state = self._header
        return True

    def _header(self, pieces: list[Piece]) -> bool:
        found = _HEADER.match(self._text)
        if found is None:
            if len(self._text) > HEADER_CHARACTERS:
                self._state = self._outside
            return len(self._text) > HEADER_CHARACTERS
        if found.end() == len(self._text):
            return False  # blanks may follow, and the arguments' first character decides nothing yet
        pieces.append(Call(msgspec.json.decode(found["name"], type=str)))
        self._text = self._text[found.end() :]
        self._depth, self._quoted = 0, False
        self._state = self._arguments
        return True

    def _arguments(self, pieces: list[Piece]) -> bool:
        text, at = self._text, 0
        while at < len(text):
            found = (_STRING_END if self._quoted else _STRUCTURE).search(text, at)
            if found is None:
                at = len(text)
                break
            at = found.end()
            match found[0]:
                case "\\":
                    if at == len(text):
                        at -= 1  # what it escapes has not come
                        break
                    at += 1
                case '"':
                    self._quoted = not self._quoted
                case "{" | "[":
                    self._depth += 1
                case _:
                    self._depth -= 1
            if self._depth == 0 and not self._quoted:
                self._state = self._outside
                break
        if at:
            pieces.append(Arguments(text[:at]))
        self._text = text[at:]
        return self._state == self._outside


class FreeCalls:
    """Reads text that nothing held to a form: a call counts when it is complete, well-formed and offered."""

    def __init__(self, names: Collection[str], *, many: bool) -> None:
        self._names = names
        self._many = many
        self._calls = 0
        self._text = ""

    def feed(self, text: str) -> list[Piece]:
        """What became certain with this text."""
        self._text += text
        pieces: list[Piece] = []
        while self._step(pieces):
            pass
        return pieces

    def end(self) -> list[Piece]:
        """The rest, when no more text comes. Some models end a call by ending."""
        rest, self._text = self._text, ""
        if rest.startswith(OPENING):
            return self._call(rest, rest.removeprefix(OPENING))
        return [Text(rest)] if rest.strip() or (rest and not self._calls) else []

    def _step(self, pieces: list[Piece]) -> bool:
        start = self._text.find(OPENING)
        if start == 0:
            close = self._text.find(CLOSING)
            if close < 0:
                return False
            end = close + len(CLOSING)
            pieces += self._call(self._text[:end], self._text[len(OPENING) : close])
            self._text = self._text[end:]
            return True
        # What could be the beginning of a mark waits, and so do the blanks before it, which are no words.
        safe = start if start > 0 else len(self._text) - _overlap(self._text)
        words = self._text[:safe].rstrip()
        if words:
            pieces.append(Text(words))
        self._text = self._text[start if start > 0 else len(words) :]
        return start > 0

    def _call(self, whole: str, inside: str) -> list[Piece]:
        try:
            call = msgspec.json.decode(inside)
        except (msgspec.DecodeError, RecursionError):
            return [Text(whole)]
        if not isinstance(call, dict) or call.get("name") not in self._names:
            return [Text(whole)]
        arguments = call.get("arguments", call.get("parameters", {}))
        if not isinstance(arguments, dict):
            return [Text(whole)]
        if self._calls and not self._many:
            return []
        self._calls += 1
        return [Call(call["name"]), Arguments(msgspec.json.encode(arguments).decode())]


def _overlap(text: str) -> int:
    """How many characters at the text's end could begin the opening mark."""
    return next((size for size in range(len(OPENING) - 1, 0, -1) if text.endswith(OPENING[:size])), 0)
