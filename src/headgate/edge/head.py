"""A request's head once it is taken apart; and heads that come again, which need not be.

On a kept connection clients say the same before every request, but for the body's length. The parser is asked
once: bytes that it has judged, with nothing new but the digits of a length, are judged. Pure.
"""

from __future__ import annotations

import re

from headgate.edge.route import Route

BLANK_LINE = b"\r\n\r\n"

LENGTH_DIGITS = 8
"""Longer lengths, of a hundred megabytes and more, are left to the parser."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,%d})\r\n" % LENGTH_DIGITS, re.IGNORECASE)


class Head:
    """What a head says, and where it leads."""

    __slots__ = (
        "bearer", "fields", "lines", "method", "parameter", "route", "single", "target", "usual", "version",
    )  # fmt: skip

    def __init__(
        self,
        method: bytes,
        version: str,
        target: bytes,
        lines: list[tuple[bytes, bytes]],
        fields: dict[bytes, bytes],
    ) -> None:
        self.method = method
        self.version = version
        self.target = target
        self.lines = lines
        """Names in lower case."""
        self.fields = fields
        """`dict(lines)`."""
        self.single = len(fields) == len(lines)
        """No header came twice."""
        self.route: Route | None = None
        self.parameter = ""
        """What stands for `{id}` in the path."""
        self.usual = version == "1.1" and b"origin" not in fields
        """A reply to it needs no lines of its own."""
        self.bearer: bytes | None = None
        """The Authorization header's token, once it was looked for and found."""

    def find_bearer(self) -> None:
        """Looks for a token in the Authorization header."""
        scheme, _, token = self.fields.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            self.bearer = token.strip()

    def get(self, name: bytes) -> bytes | None:
        """A header's value by its lower-case name; repeated lines are joined by `, `."""
        if self.single or name not in self.fields:
            return self.fields.get(name)
        return b", ".join(value for line, value in self.lines if line == name)


class KnownHead:
    """A head that was good, and its bytes around the digits of its length."""

    __slots__ = ("_after", "_after_bytes", "_before", "_digits_at", "_limit_bytes", "_search_end", "head")

    def __init__(self, head: Head, before: bytes, after: bytes) -> None:
        self.head = head
        self._before = before
        self._after = after
        self._after_bytes = len(after)
        self._digits_at = len(before)
        self._search_end = len(before) + LENGTH_DIGITS + len(after)
        self._limit_bytes = head.route.body_limit_bytes if head.route is not None else 0

    def body(self, data: bytes) -> bytes | None:
        """The body, where `data` is this head again, with a body as long as it says, and nothing else."""
        if not data.startswith(self._before):
            return None
        digits_at = self._digits_at
        digits_end = data.find(self._after, digits_at, self._search_end)
        digits = data[digits_at:digits_end]
        if digits_end < 0 or not digits.isdigit():
            return None
        body = data[digits_end + self._after_bytes :]
        return body if len(body) == int(digits) <= self._limit_bytes else None


def known_head(head: Head, data: bytes) -> KnownHead | None:
    """What to know of a read that held a request with this head and its whole body.

    None for heads that are not so simple, and where anything else was in that read: the parser lets empty
    lines pass before a request.
    """
    length = _LENGTH.search(data)
    if length is None or not head.single or head.version != "1.1":
        return None
    end = data.find(BLANK_LINE) + len(BLANK_LINE)
    if length.start(1) > end or len(data) - end != int(length[1]):
        return None
    return KnownHead(head, data[: length.start(1)], data[length.end(1) : end])
