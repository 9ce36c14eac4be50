"""Server-sent events as bytes: cutting a stream at event boundaries and looking into single events.

Pure. Source of the rules: the WHATWG HTML standard, section 9.2 (event streams).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_EVENT_BYTES = 1_048_576
"""An event above this is passed on raw until its end: a picture in base64 may be larger, but the memory of
a stream has to stay bounded."""

LARGE_EVENT_BYTES = 67_108_864
"""The same where a stream is known to carry pictures, one to an event: what a whole reply may be."""

DONE = b"data: [DONE]\n\n"

# A blank line that ends an event. `\r` alone is a line end too, though nobody sends it; CR LF is one.
_BOUNDARY = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")


class EventSplitter:
    """Cuts a stream into blocks of whole events, whatever the sizes in which it arrives."""

    __slots__ = ("_raw", "_tail")

    def __init__(self) -> None:
        self._tail = b""
        self._raw = False

    def feed(self, data: bytes) -> bytes:
        """Everything up to the last event boundary; the rest waits for more bytes."""
        if self._tail:
            data = self._tail + data
            self._tail = b""
        if b"\r" in data:
            end = _last_boundary(data)
        elif data.endswith(b"\n\n"):
            return data
        else:
            end = data.rfind(b"\n\n") + 2
            if end == 1:
                end = 0
        if end == len(data):
            return data
        self._tail = data[end:]
        return data[:end]

    @property
    def oversized(self) -> bool:
        """The event that is arriving is over the cap: take it with `take_raw`."""
        return len(self._tail) > MAX_EVENT_BYTES

    def take_raw(self) -> bytes:
        """The unfinished event so far, except what could be half of its boundary."""
        keep = 3  # the longest boundary is four bytes
        data, self._tail = self._tail[:-keep], self._tail[-keep:]
        return data

    @property
    def tail(self) -> bytes:
        """What has arrived of an unfinished event."""
        return self._tail


class LargeEventSplitter:
    """The same for streams whose single events are megabytes, such as pictures in base64."""

    __slots__ = ("_edge", "_inner", "_waiting", "_waiting_bytes")

    def __init__(self) -> None:
        self._inner = EventSplitter()
        self._edge = b""
        """The last bytes that came: a boundary may begin in them."""
        self._waiting: list[bytes] = []
        """What came since without a boundary. Joined once, when there is one: not anew with every piece."""
        self._waiting_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Everything up to the last event boundary; the rest waits for more bytes."""
        window = self._edge + data
        self._edge = window[-3:]  # the longest boundary is four bytes
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if not any(pair in window for pair in (b"\n\n", b"\n\r", b"\r\r")):
            return b""
        return self._inner.feed(self._take())

    def _take(self) -> bytes:
        data = b"".join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        return data

    @property
    def oversized(self) -> bool:
        """The event that is arriving is over the cap."""
        return self._waiting_bytes + len(self._inner.tail) > LARGE_EVENT_BYTES

    def take_raw(self) -> bytes:
        """The unfinished event so far."""
        return self._inner.feed(self._take()) + self._inner.take_raw()

    @property
    def tail(self) -> bytes:
        """What has arrived of an unfinished event."""
        return self._inner.tail + b"".join(self._waiting)


def _last_boundary(data: bytes) -> int:
    # Looked for from the end, by the two bytes that every boundary holds. A CR at the very end may be half of
    # a CR LF, and waits: there are clients that see no boundary before its second half.
    known = len(data) - data.endswith(b"\r")
    end = 0
    for pair in (b"\n\r", b"\n\n", b"\r\r"):
        at = data.rfind(pair, max(0, end - 1), known)
        if at >= 0:
            end = max(end, at + (3 if data.startswith(b"\r\n", at + 1) else 2))
    return end


def events(block: bytes) -> Iterator[bytes]:
    """The single events of a block of whole events, each with its blank line."""
    if b"\r" not in block:
        start = 0
        while start < len(block):
            end = block.find(b"\n\n", start) + 2
            if end == 1:
                end = len(block)
            yield block[start:end]
            start = end
        return
    start = 0
    for match in _BOUNDARY.finditer(block):
        yield block[start : match.end()]
        start = match.end()
    if start < len(block):
        yield block[start:]


def payload(event: bytes) -> bytes | None:
    """The `data` of one event, its lines joined by LF; None where it has none (a comment)."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]
    lines = [_value(line) for line in event.splitlines() if line == b"data" or line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def has_data(block: bytes) -> bool:
    """Whether any event in a block says something; comments do not."""
    return any(payload(event) is not None for event in events(block))


def _value(line: bytes) -> bytes:
    value = line[5:]
    return value[1:] if value.startswith(b" ") else value


def event(data: bytes) -> bytes:
    """One event with this data, which must hold no line end."""
    return b"data: " + data + b"\n\n"


def comment(text: bytes = b"") -> bytes:
    """An event that readers ignore; keeps proxies and clients from giving up on a quiet stream."""
    return b": " + text + b"\n\n"
