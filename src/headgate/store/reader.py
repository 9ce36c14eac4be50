"""Reads a journal back, whole, damaged or still being written. Changes nothing on disk.

Owns the order of segments and what counts as damage; must not know who writes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from headgate.core.ports import Closed, Opened
from headgate.store.segment import (
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    RECORD_HEAD_BYTES,
    Header,
    parse_header,
    sound_record_end,
)

_log = logging.getLogger(__name__)

_SEGMENT_NAME = re.compile(r"(\d{12})\.(?:journal|damaged)")
_PAYLOAD_START = re.compile(rb"[\x90-\x9f]\xa1[oc]")
"""How a record's payload begins: a short MessagePack array, then its tag. Quick to look for after damage."""
_decode = msgspec.msgpack.Decoder(Opened | Closed).decode


def segment_path(folder: Path, number: int) -> Path:
    """Where segment `number` lives; names sort as numbers do."""
    return folder / f"{number:012d}.journal"


def segment_number(path: Path) -> int:
    """The number in a segment's name."""
    return int(path.name[:12])


def list_segments(folder: Path) -> list[Path]:
    """Every segment, oldest first; those kept aside as damaged are among them."""
    found = [path for path in folder.iterdir() if _SEGMENT_NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: path.name)


def read(folder: Path, on_damage: Callable[[Path, str], None] | None = None) -> Iterator[Opened | Closed]:
    """Every record of a journal in the order it was written, also while a server writes it.

    The oldest records age out, so a `Closed` may come without its `Opened`. `on_damage` is told of what
    cannot be read (a log line by default); everything else is still returned. Raises OSError.
    """
    tell = on_damage or (lambda path, damage: _log.warning("journal segment %s: %s", path, damage))
    before: SegmentReader | None = None
    for path in list_segments(folder):
        reader = SegmentReader(path)
        try:
            reader.load()
        except FileNotFoundError:
            continue  # it aged out since the listing
        if reader.header.prepared:
            break
        # Once a segment has begun nothing is added to the one before: what its copy lacks is there now.
        if before is not None:
            yield from before.rest()
            before.tell(tell)
        yield from reader
        before = reader
    if before is not None:
        yield from before.rest()
        before.tell(tell)


class SegmentReader:
    """Iterates over one segment's records; what it met on the way is known when the iteration has ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = Header(version=0, salt=0)
        self.end = HEADER_BYTES
        """Where the next record would go."""
        self.torn_bytes = 0
        """Length of what lies behind the end: the record that was being written when the process died."""
        self._damage: list[str] = []
        self._data = b""
        self._used = 0

    @property
    def damage(self) -> list[str]:
        """What could not be read, in words; empty for a sound segment."""
        if self.torn_bytes > RECORD_HEAD_BYTES + MAX_PAYLOAD_BYTES:
            return [*self._damage, f"{self.torn_bytes} unreadable bytes at the end, from byte {self.end}"]
        return self._damage

    def tell(self, on_damage: Callable[[Path, str], None]) -> None:
        """Passes on what could not be read."""
        for damage in self.damage:
            on_damage(self.path, damage)

    def load(self) -> None:
        """Takes a copy of the file as it is now."""
        self._take(self.path.read_bytes())
        self.header, wrong = parse_header(self._data)
        self._damage = [wrong] if wrong else []

    def __iter__(self) -> Iterator[Opened | Closed]:
        if not self._data:
            self.load()
        return self._records()

    def rest(self) -> Iterator[Opened | Closed]:
        """The records that were added since the copy was taken."""
        self._look_again(self.end)
        return self._records()

    def _records(self) -> Iterator[Opened | Closed]:
        while True:
            after = self._record_end(self.end)
            if after:
                yield from self._decoded(self.end, after)
                self.end = after
            elif found := self._skip_damage(self.end):
                self.end = found
            else:
                break
        self.torn_bytes = max(0, self._used - self.end)

    def _take(self, data: bytes) -> None:
        self._data = data
        self._used = len(data.rstrip(b"\0"))

    def _look_again(self, at: int) -> None:
        self._take(self._data[:at] + (self._fresh(at) or self._data[at:]))

    def _fresh(self, at: int, size: int = -1) -> bytes:
        """What the file holds at `at` now; nothing if it has aged out meanwhile."""
        try:
            with self.path.open("rb") as file:
                file.seek(at)
                return file.read(size)
        except FileNotFoundError:
            return b""

    def _decoded(self, at: int, after: int) -> Iterator[Opened | Closed]:
        try:
            yield _decode(self._data[at + RECORD_HEAD_BYTES : after])
        except msgspec.MsgspecError as error:
            self._damage.append(f"a sound record at byte {at} is of a kind not known here: {error}")

    def _record_end(self, at: int) -> int:
        """Where the sound record at `at` ends; 0 when there is none."""
        return sound_record_end(self._data, at, self.header.salt)

    def _skip_damage(self, at: int) -> int:
        """Where reading goes on after something unreadable at `at`; 0 when nothing sound follows."""
        found = self._search(at)
        if not found:
            return 0
        # A copy taken while the file is written may show an early part that is older than a later one.
        # Records are written in order: once a later one was seen, another look shows the earlier, if any.
        if sound_record_end(self._fresh(at, RECORD_HEAD_BYTES + MAX_PAYLOAD_BYTES), 0, self.header.salt):
            self._look_again(at)
            return at
        self._damage.append(f"{found - at} unreadable bytes from byte {at}")
        return found

    def _search(self, at: int) -> int:
        """The first sound record behind `at`; 0 when there is none."""
        for match in _PAYLOAD_START.finditer(self._data, at + RECORD_HEAD_BYTES + 1, self._used):
            candidate = match.start() - RECORD_HEAD_BYTES
            if self._record_end(candidate):
                return candidate
        return 0
