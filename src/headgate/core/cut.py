"""Takes long base64 out of a JSON body while it arrives, and puts it back into what is made of the rest.

A picture of 20 MB would be copied, scanned and spliced in one go that nothing can interrupt, though nobody
looks into it. So its bytes stay aside, in pieces, and a short stand-in is checked and translated instead.
Must not know who reads the body, nor what it means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

RUN_BYTES = 16_384
"""Shortest run of base64 that is cut: a thumbnail. What is shorter takes less time to scan than to cut."""

KEPT_BYTES = 1024
"""Stays of a run's beginning. An escape before it keeps all its letters, a type can be told from the first
bytes, and what is left is still longer than any limit on a string's length (the longest is 512)."""

QUANTUM = 4
"""Base64 comes in fours. A cut takes whole ones and its stand-in is some: what was base64 still is, and what
was not is not."""

CARRIERS = ("messages",)
"""Top-level fields where cuts may be: no check measures long text in them. Schemas and names stay whole."""

TOKEN_BYTES = 32

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_OTHER = b"\x01"
_KINDS = bytes(0 if byte in _ALPHABET else 1 for byte in range(256))

# A stand-in is `+/`, the token, the cut's number, `/+`. Outside of a string none of it is JSON, and whoever
# decodes it meets 0xFB at once, which is in no text.
_OPENING, _CLOSING = b"+/", b"/+"
_NUMBER = b"%08x"
_NUMBER_BYTES = 8
# Names are not cut, for two long ones may be the same; nor is what another encoding goes on with.
_GOOD_END = re.compile(rb'[A-Za-z0-9+/]*={0,2}"[ \t\r\n]*[,}\]]')


class Pieces:
    """A body in several buffers; its length is that of all."""

    __slots__ = ("_size", "buffers")

    def __init__(self, buffers: Sequence[bytes | memoryview]) -> None:
        self.buffers = buffers
        self._size = sum(map(len, buffers))

    def __len__(self) -> int:
        return self._size


class WholeBodyNeeded(Exception):
    """Raised by a dialect that has to read what was cut out: it is asked again, with the whole body."""


class CutBody:
    """A body without its long runs, and the runs; its length is that of the body as it came."""

    __slots__ = ("_cuts", "_size", "_token", "skeleton")

    def __init__(self, token: bytes, skeleton: bytes, cuts: Sequence[Sequence[bytes]], size: int) -> None:
        self._token = token
        self._cuts = cuts
        self._size = size
        self.skeleton = skeleton
        """The body with stand-ins; not to be shown to anyone."""

    def __len__(self) -> int:
        return self._size

    def whole(self) -> bytes:
        """The body as it came; takes its size in memory once more."""
        pieces = self.mend(self.skeleton)
        assert pieces is not None
        return b"".join(pieces.buffers)

    def is_sound(self, fields: Mapping[str, bytes | memoryview]) -> bool:
        """Whether every cut lies where it changes nothing that is checked: within a string's value, down to
        its end, in one of the fields that may have some."""
        found = 0
        for name in CARRIERS:
            for rest in bytes(fields.get(name, b"")).split(self._token)[1:]:
                found += 1
                if _GOOD_END.match(rest, _NUMBER_BYTES + len(_CLOSING)) is None:
                    return False
        return found == len(self._cuts) == self.skeleton.count(self._token)

    def mend(self, data: bytes) -> Pieces | None:
        """What was made of the skeleton, each run in the place of its stand-in, as often as that is there.

        None when one is missing or has been changed: then somebody has read it for the text itself.
        """
        first, *rests = data.split(_OPENING + self._token)
        if len(rests) != data.count(self._token):
            return None
        buffers = [first]
        missing = set(range(len(self._cuts)))
        for rest in rests:
            number = _number(rest)
            if number is None or number >= len(self._cuts):
                return None
            missing.discard(number)
            buffers += self._cuts[number]
            buffers.append(rest[_NUMBER_BYTES + len(_CLOSING) :])
        return None if missing else Pieces(buffers)


def _number(rest: bytes) -> int | None:
    """The number in a stand-in, from what follows its token."""
    digits = rest[:_NUMBER_BYTES]
    closing = rest[_NUMBER_BYTES : _NUMBER_BYTES + len(_CLOSING)]
    try:
        number = int(digits, 16)
    except ValueError:
        return None
    return number if closing == _CLOSING and _NUMBER % number == digits else None


class Cutter:
    """Cuts one body as it comes. Each byte is looked at once, by C; a chunk of 256 KiB takes 0.2 ms."""

    __slots__ = ("_cuts", "_rest", "_run", "_run_bytes", "_size", "_token")

    def __init__(self, token: bytes) -> None:
        """`token`: TOKEN_BYTES letters and digits that no client can guess."""
        assert len(token) == TOKEN_BYTES
        assert token.isalnum()
        self._token = token
        self._rest: list[bytes] = []
        """What becomes the skeleton."""
        self._run: list[bytes] = []
        """Base64 that has not met its end yet."""
        self._run_bytes = 0
        self._cuts: list[list[bytes]] = []
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """Takes the next part of the body; it is held as it is where it lies within a run."""
        self._size += len(chunk)
        kinds = chunk.translate(_KINDS)
        other = kinds.find(_OTHER)
        if other < 0:
            self._extend(chunk)
            return
        self._extend(chunk[:other])
        self._end_run()
        last = kinds.rfind(_OTHER)
        kept = other
        while other + RUN_BYTES < last:
            # A whole stride at a time: where the last other byte of one is near its end, no run begins in it.
            nearest = kinds.rfind(_OTHER, other + 1, other + 1 + RUN_BYTES)
            if nearest >= 0:
                other = nearest
                continue
            self._rest.append(chunk[kept : other + 1])
            kept = kinds.find(_OTHER, other + 1 + RUN_BYTES)
            self._extend(chunk[other + 1 : kept])
            self._end_run()
            other = kept
        self._rest.append(chunk[kept : last + 1])
        self._extend(chunk[last + 1 :])

    def finish(self) -> CutBody | bytes:
        """The body, cut; or as it came, where it has no long run."""
        self._end_run()
        skeleton = b"".join(self._rest)
        self._rest = []
        return CutBody(self._token, skeleton, self._cuts, self._size) if self._cuts else skeleton

    def _extend(self, run: bytes) -> None:
        if run:
            self._run.append(run)
            self._run_bytes += len(run)

    def _end_run(self) -> None:
        run, size = self._run, self._run_bytes
        self._run, self._run_bytes = [], 0
        if size < RUN_BYTES:
            self._rest += run
            return
        start, rest = _split(run, KEPT_BYTES)
        cut, end = _split(rest, (size - KEPT_BYTES) // QUANTUM * QUANTUM)
        number = _NUMBER % len(self._cuts)
        self._rest += [*start, _OPENING, self._token, number, _CLOSING, *end]
        self._cuts.append(cut)


def _split(pieces: list[bytes], at: int) -> tuple[list[bytes], list[bytes]]:
    """Pieces before and after a place; only the one across it is copied."""
    for index, piece in enumerate(pieces):
        if at < len(piece):
            before = [*pieces[:index], piece[:at]] if at else pieces[:index]
            return before, [piece[at:], *pieces[index + 1 :]]
        at -= len(piece)
    return pieces, []
