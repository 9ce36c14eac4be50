"""Redis's wire format (RESP2), as far as counters need it: commands out, replies in. Pure.

Maps, sets and pushes of RESP3 are not asked for and do not come.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_BYTES = 64 * 1024 * 1024
"""A longer reply is none of ours: whoever answers is no Redis."""


class RespError(Exception):
    """The bytes are no RESP2."""


class ErrorReply(str):
    """An error that Redis answered with, such as `NOSCRIPT ...`."""

    __slots__ = ()


Reply = bytes | int | ErrorReply | list["Reply"] | None


def arguments(values: Sequence[bytes]) -> bytes:
    """A part of a command: for what stays the same, made once."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(value), value) for value in values])


def command(count: int, *parts: bytes) -> bytes:
    """A command of so many arguments, made by `arguments`."""
    return b"*%d\r\n%b" % (count, b"".join(parts))


class ReplyParser:
    """Bytes in, whole replies out."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[Reply]:
        """Every reply that is complete now; raises RespError."""
        self._data = data = self._data + data if self._data else data
        found: list[Reply] = []
        at = 0
        while at < len(data):
            taken = _reply(data, at)
            if taken is None:
                break
            reply, at = taken
            found.append(reply)
        self._data = data[at:]
        return found


def _reply(data: bytes, at: int) -> tuple[Reply, int] | None:
    """The reply that begins at `at`, and where the next one does; None when it is not whole."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    kind, line = data[at : at + 1], data[at + 1 : end]
    after = end + 2
    if kind == b"$":
        size = _number(line)
        if size > LONGEST_BYTES:
            raise RespError("a reply longer than any of Redis's to us")
        if size < 0:
            return (None, after)
        if len(data) < after + size + 2:
            return None
        return data[after : after + size], after + size + 2
    if kind == b":":
        return _number(line), after
    if kind == b"+":
        return line, after
    if kind == b"-":
        return ErrorReply(line.decode(errors="replace")), after
    if kind == b"*":
        return _array(data, after, _number(line))
    raise RespError("not a reply of Redis")


def _array(data: bytes, at: int, count: int) -> tuple[Reply, int] | None:
    if count < 0:
        return (None, at)
    items: list[Reply] = []
    for _ in range(count):
        taken = _reply(data, at)
        if taken is None:
            return None
        item, at = taken
        items.append(item)
    return items, at


def _number(line: bytes) -> int:
    try:
        return int(line)
    except ValueError:
        raise RespError("not a number where Redis has one") from None
