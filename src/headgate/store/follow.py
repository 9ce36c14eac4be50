"""Follows a journal while it is written: every attempt that has ended, once, and where to go on.

Changes nothing on disk and knows no database. What is damaged is told, and everything else still comes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from headgate.core.ports import Closed, Opened
from headgate.store.reader import SegmentReader, list_segments, segment_number
from headgate.store.segment import (
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    RECORD_HEAD_BYTES,
    parse_header,
    sound_record_end,
)

CHUNK_BYTES = 512 * 1024
"""Read at once: some thousand records, and little to copy when nothing new is there."""

_log = logging.getLogger(__name__)
_decode = msgspec.msgpack.Decoder(Opened | Closed).decode


class Position(msgspec.Struct, frozen=True):
    """How far a journal was followed. All zero: from its beginning."""

    segment: int = 0
    salt: int = 0
    """That segment's own: another journal's segment of the same number has another."""
    at: int = 0
    """Everything below was read."""
    last_at: int = 0
    """Where the last record begins that was read; 0 for none. It must still be there, and end at `at`."""
    open_segment: int = 0
    open_at: int = 0
    """Where the oldest attempt was opened that had not ended."""


START = Position()


class Ended(msgspec.Struct, frozen=True, gc=False):
    """One attempt that has ended."""

    opened: Opened
    closed: Closed
    segment: int = 0
    at: int = 0
    """Where its record ends: it is carried when the journal is carried up to here."""


class _Beginning(msgspec.Struct, frozen=True, gc=False):
    opened: Opened
    segment: int
    at: int


class Follower:
    """Reads on from a position, whenever it is asked."""

    def __init__(self, folder: Path, tell: Callable[[str], None] = _log.warning) -> None:
        self._folder = folder
        self._tell = tell
        self._open: dict[int, _Beginning] = {}
        """In order of their beginning."""
        self._path: Path | None = None
        self._number = 0
        self._salt = 0
        self._at = 0
        self._last_at = 0

    @property
    def position(self) -> Position:
        """Where to go on when everything that was yielded is kept."""
        oldest = next(iter(self._open.values()), None)
        if oldest is None:
            return Position(self._number, self._salt, self._at, self._last_at, self._number, self._at)
        return Position(self._number, self._salt, self._at, self._last_at, oldest.segment, oldest.at)

    def resume(self, position: Position) -> bool:
        """Goes on where an earlier follower was; False if that place is not there any more.

        Then the journal is not the one that was followed, or a power cut took what had been read: it is read
        from its beginning, and whoever keeps the entries has to look for what is kept already.
        """
        self._open.clear()
        self._path = None
        self._number = self._salt = self._at = self._last_at = 0
        if position == START:
            return True
        if not self._stands(position):
            return False
        for number, path in self._segments():
            if position.open_segment <= number <= position.segment:
                self._reopen(number, path, position)
        return True

    def read(self, limit: int) -> list[Ended]:
        """What has ended since, up to so many; empty when all was read."""
        ended: list[Ended] = []
        while len(ended) < limit:
            if self._path is None and not self._next():
                break
            if self._advance(ended, limit):
                continue
            if not self._next():
                break
        return ended

    def _segments(self) -> list[tuple[int, Path]]:
        try:
            return [(segment_number(path), path) for path in list_segments(self._folder)]
        except FileNotFoundError:
            return []

    def _stands(self, position: Position) -> bool:
        """Whether the record that was read last is there, and ends where it did."""
        for number, path in self._segments():
            if number == position.segment:
                try:
                    with path.open("rb") as file:
                        salt = parse_header(file.read(HEADER_BYTES))[0].salt
                        file.seek(position.last_at)
                        record = file.read(position.at - position.last_at)
                except FileNotFoundError:
                    return False
                whole = not position.last_at or sound_record_end(record, 0, salt) == len(record)
                return salt == position.salt and whole
        return False

    def _reopen(self, number: int, path: Path, position: Position) -> None:
        """Collects the attempts that were open at a position, and goes on there."""
        self._begin(number, path)
        if number == position.open_segment:
            self._at = position.open_at
        end = position.at if number == position.segment else None
        while end is None or self._at < end:
            if not self._advance([], 2**62, end):
                break
        if end is not None:
            self._at, self._last_at = end, position.last_at

    def _begin(self, number: int, path: Path) -> None:
        with path.open("rb") as file:
            header = parse_header(file.read(HEADER_BYTES))[0]
        self._path, self._number, self._salt = path, number, header.salt
        self._at, self._last_at = HEADER_BYTES, 0

    def _next(self) -> bool:
        """Goes to the next segment if it is in use; what is left of the present one is final then."""
        for number, path in self._segments():
            if number <= self._number:
                continue
            with path.open("rb") as file:
                header = parse_header(file.read(HEADER_BYTES))[0]
            if header.prepared:
                return False
            if self._path is not None and self._advance([], 0):
                return True  # it was written to since; that is read first
            if self._path is not None and self._skip_damage():
                return True
            if self._number and number != self._number + 1:
                self._tell(
                    f"journal: segments {self._number + 1} to {number - 1} are gone, and were not carried"
                )
            self._begin(number, path)
            return True
        return False

    def _chunk(self, size: int = CHUNK_BYTES) -> bytes:
        assert self._path is not None
        for path in (self._path, self._path.with_suffix(".damaged")):
            try:
                with path.open("rb") as file:
                    file.seek(self._at)
                    return file.read(size)
            except FileNotFoundError:
                continue
        return b""

    def _advance(self, ended: list[Ended], limit: int, end: int | None = None) -> bool:
        """Reads records of the present segment; whether there was any. With a limit of 0 it only looks."""
        data = self._chunk() if limit else self._chunk(RECORD_HEAD_BYTES + MAX_PAYLOAD_BYTES)
        salt, at, base = self._salt, 0, self._at
        stop = len(data) if end is None else end - base
        begun, head_bytes = self._open, RECORD_HEAD_BYTES
        if not limit:
            return bool(sound_record_end(data, 0, salt))
        while at < stop and len(ended) < limit:
            after = sound_record_end(data, at, salt)
            if not after:
                break
            try:
                record = _decode(data[at + head_bytes : after])
            except msgspec.MsgspecError as error:
                self._tell(
                    f"journal: {self._path}: a record at byte {base + at} is of an unknown kind: {error}"
                )
            else:
                if isinstance(record, Opened):
                    begun[record.attempt] = _Beginning(record, self._number, base + at)
                elif (beginning := begun.pop(record.attempt, None)) is not None:
                    ended.append(Ended(beginning.opened, record, self._number, base + after))
                else:
                    ended.append(Ended(_lost(record), record, self._number, base + after))
            self._last_at = base + at
            at = after
        self._at = base + at
        return at > 0

    def _skip_damage(self) -> bool:
        """Looks for a sound record behind something unreadable, in a segment that is final."""
        assert self._path is not None
        path = self._path if self._path.exists() else self._path.with_suffix(".damaged")
        reader = SegmentReader(path)
        try:
            found = next((at for at in _sound_places(reader) if at > self._at), 0)
        except FileNotFoundError:
            return False
        if not found:
            return False
        self._tell(f"journal: {path}: {found - self._at} unreadable bytes from byte {self._at}")
        self._at = found
        return True


def _sound_places(reader: SegmentReader) -> Iterator[int]:
    """Where sound records begin, as the reader comes by them."""
    for _ in reader:
        yield reader.end


def _lost(closed: Closed) -> Opened:
    """Stands for a beginning that damage has taken: the end is accounted for, to nobody's account."""
    return Opened(closed.attempt, closed.at_ms, "", "", "", "", "", "")
