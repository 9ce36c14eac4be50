"""Finds the line on which each value of a TOML text stands, which tomllib does not tell.

It reads only the shape: tables, keys, brackets and strings. A text that tomllib refuses makes it stop
early, never fail.
"""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]
"""Keys and list indices from the root, such as `("upstream", 0, "models", 1)`."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\n#]+")


def find_lines(text: str) -> dict[Path, int]:
    """The line (the first is 1) of every table, list entry and value in a TOML text."""
    reader = _Reader(text)
    try:
        reader.read()
    except (_Stop, RecursionError):
        pass  # what was found until here is what can be told
    return reader.lines


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """The line of a path, or of the nearest thing around it that has one; None for the root."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return None


class _Stop(Exception):
    """The text is not TOML from here on."""


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self.entries: dict[Path, int] = {}
        """How many `[[...]]` headers each list of tables has had."""
        self._counted_at = 0
        self._line = 1

    def read(self) -> None:
        table: Path = ()
        while self._skip(_BLANK) and self.at < len(self.text):
            if self.text.startswith("[[", self.at):
                table = self._header(2)
            elif self.text[self.at] == "[":
                table = self._header(1)
            else:
                self._pair(table)

    def _header(self, brackets: int) -> Path:
        start = self.at
        self.at += brackets
        path: Path = ()
        keys = self._keys()
        for place, key in enumerate(keys, start=1):
            path += (key,)
            if brackets == 2 and place == len(keys):
                self._mark(path, start)
                self.entries[path] = self.entries.get(path, 0) + 1
            if path in self.entries:
                path += (self.entries[path] - 1,)
            self._mark(path, start)
        self._expect("]" * brackets)
        return path

    def _pair(self, table: Path) -> None:
        start = self.at
        path = table
        for key in self._keys():
            path += (key,)
            self._mark(path, start)
        self._expect("=")
        self._skip(_SPACE)
        self._value(path)

    def _keys(self) -> list[str]:
        keys = [self._key()]
        while self._skip(_SPACE) and self.text.startswith(".", self.at):
            self.at += 1
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        self._skip(_SPACE)
        start = self.at
        if bare := _BARE_KEY.match(self.text, self.at):
            self.at = bare.end()
            return bare.group()
        self._string()
        try:
            # Escapes are tomllib's business.
            (key,) = tomllib.loads(self.text[start : self.at] + "=0")
        except ValueError:
            raise _Stop from None
        return key

    def _value(self, path: Path) -> None:
        self._mark(path, self.at)
        match self.text[self.at : self.at + 1]:
            case '"' | "'":
                self._string()
            case "[":
                self._list(path)
            case "{":
                self._inline_table(path)
            case _:
                scalar = _SCALAR.match(self.text, self.at)
                if not scalar:
                    raise _Stop
                self.at = scalar.end()

    def _list(self, path: Path) -> None:
        self.at += 1
        index = 0
        while self._skip(_BLANK) and not self.text.startswith("]", self.at):
            self._value((*path, index))
            index += 1
            self._skip(_BLANK)
            if self.text.startswith(",", self.at):
                self.at += 1
            elif not self.text.startswith("]", self.at):
                raise _Stop
        self.at += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while self._skip(_BLANK) and not self.text.startswith("}", self.at):
            self._pair(path)
            self._skip(_BLANK)
            if self.text.startswith(",", self.at):
                self.at += 1
            elif not self.text.startswith("}", self.at):
                raise _Stop
        self.at += 1

    def _string(self) -> None:
        string = _STRING.match(self.text, self.at)
        if not string:
            raise _Stop
        self.at = string.end()

    def _skip(self, blank: re.Pattern[str]) -> bool:
        skipped = blank.match(self.text, self.at)
        if skipped:
            self.at = skipped.end()
        return True

    def _expect(self, mark: str) -> None:
        self._skip(_SPACE)
        if not self.text.startswith(mark, self.at):
            raise _Stop
        self.at += len(mark)

    def _mark(self, path: Path, position: int) -> None:
        # Positions only rise, so each line break is counted once.
        self._line += self.text.count("\n", self._counted_at, position)
        self._counted_at = max(self._counted_at, position)
        self.lines.setdefault(path, self._line)
