"""What the journal's last records say was used: for rates, which nobody keeps anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from headgate.core.ports import Opened, Outcome
from headgate.store.reader import SegmentReader, list_segments

MOST = 500_000
"""Attempts looked back at: some seconds of reading, and a few hundred megabytes for a moment. Of a gate that
has more in a day, daily rates forget the oldest."""


def recent(folder: Path, since_ms: int) -> Iterator[tuple[Opened, int]]:
    """Every attempt opened at or after a time with the tokens it came to, in the order of their beginning.

    One whose end nobody saw counts with what was held for it. Raises OSError.
    """
    opened: dict[int, tuple[Opened, int]] = {}
    for path in _segments(folder, since_ms):
        for record in SegmentReader(path):
            if isinstance(record, Opened):
                if record.at_ms >= since_ms:
                    opened[record.attempt] = (record, record.held.tokens)
                    if len(opened) > MOST:
                        del opened[next(iter(opened))]
            elif record.attempt in opened and record.outcome is not Outcome.UNKNOWN:
                tokens = record.usage.input_tokens + record.usage.output_tokens
                opened[record.attempt] = (opened[record.attempt][0], tokens)
    yield from opened.values()


def _segments(folder: Path, since_ms: int) -> list[Path]:
    """The segments that may have records since a time: all from the last one that began before."""
    found: list[Path] = []
    for path in reversed(list_segments(folder)):
        reader = SegmentReader(path)
        reader.load()
        if reader.header.prepared:
            continue
        found.append(path)
        if 0 < reader.header.begun_ms < since_ms:
            break
    return found[::-1]
