"""What the journal of an earlier run left behind: attempts nobody closed, where to go on, what is damaged.

Renames damaged segments so that nothing is ever appended to one; writes no records.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from headgate.core.ports import Opened
from headgate.store.reader import SegmentReader, list_segments, segment_number
from headgate.store.segment import HEADER_BYTES, Header, parse_header

ATTEMPT_GAP = 1_000_000
"""Skipped at each start. Power loss or damage can take the last attempts' records, and a clock that jumped
back would then give their numbers again; a million is more than a segment or a second can hold."""


class Leftovers(msgspec.Struct):
    """What recovery found."""

    open: dict[int, Opened]
    """Attempts without an outcome, by number."""
    next_attempt: int
    """Attempt numbers from here on are free."""
    next_number: int
    """The number of the next new segment."""
    settled_below: int
    """Segments with a number below this one have no open attempt."""
    live: SegmentReader | None
    """The segment to go on with."""
    prepared: Path | None
    """A segment made ahead and never used."""
    damage: list[str]
    """What could not be read, one sentence each, with the name the segment is kept under."""


def recover(folder: Path) -> Leftovers:
    """Reads what matters of a journal: everything since the oldest attempt that may still be open."""
    for unfinished in folder.glob("*.new"):
        unfinished.unlink()
    segments = [(path, _header(path)) for path in list_segments(folder)]
    next_number = segment_number(segments[-1][0]) + 1 if segments else 1
    prepared = segments.pop()[0] if segments and segments[-1][1].prepared else None
    settled_below = segments[-1][1].settled_below if segments else 0
    found = Leftovers({}, 0, next_number, settled_below, None, prepared, [])
    for path, header in segments:
        found.next_attempt = max(found.next_attempt, header.next_attempt)
        if segment_number(path) < settled_below and header.version:
            continue
        reader = SegmentReader(path)
        _replay(reader, found)
        last = path == segments[-1][0]
        if reader.torn_bytes and not last and not reader.damage:
            reader.damage.append(f"{reader.torn_bytes} unreadable bytes at the end, from byte {reader.end}")
        if path.suffix == ".damaged":
            continue
        if reader.damage:
            aside = path.rename(path.with_suffix(".damaged"))
            found.damage += [f"{aside}: {damage}" for damage in reader.damage]
        elif last:
            found.live = reader
    return found


def _header(path: Path) -> Header:
    with path.open("rb") as file:
        return parse_header(file.read(HEADER_BYTES))[0]


def _replay(reader: SegmentReader, found: Leftovers) -> None:
    for record in reader:
        if isinstance(record, Opened):
            found.open[record.attempt] = record
            found.next_attempt = max(found.next_attempt, record.attempt + 1)
        else:
            found.open.pop(record.attempt, None)
