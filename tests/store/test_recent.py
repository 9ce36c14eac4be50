"""What rates learn of an earlier run: every attempt since a time, with its tokens, in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.core.accounting import Held
from headgate.core.ports import Outcome
from headgate.core.usage import UNKNOWN_USAGE, Source, Usage
from headgate.store import recent as recent_module
from headgate.store.journal import FileJournal
from headgate.store.recent import recent

SECOND_NS = 1_000_000_000
SEGMENT_BYTES = 16 * 1024


def write(folder: Path, count: int) -> None:
    """One attempt a second; the last one is left open."""
    now = 1

    def clock_ns() -> int:
        return now * SECOND_NS

    journal = FileJournal.start(folder, segment_bytes=SEGMENT_BYTES, clock_ns=clock_ns)
    for now in range(1, count + 1):
        attempt = journal.open(f"r{now}", "k", "e", "m", "u", "n", Held(tokens=1000))
        if now < count:
            journal.close(attempt, Outcome.OK, 200, Usage(Source.REPORTED, now, 0, 1))
    journal.stop()


def test_attempts_since_a_time_come_with_their_tokens(tmp_path: Path) -> None:
    write(tmp_path, 300)
    found = [(opened.request_id, tokens) for opened, tokens in recent(tmp_path, 250_000)]
    assert found == [(f"r{at}", at + 1) for at in range(250, 300)] + [("r300", 1000)]
    assert len(list(recent(tmp_path, 0))) == 300
    assert list(recent(tmp_path, 301_000)) == []


def test_old_segments_are_not_read(tmp_path: Path) -> None:
    write(tmp_path, 900)
    segments = sorted(tmp_path.glob("*.journal"))
    assert len(segments) > 3
    segments[0].write_bytes(b"gone")
    assert len(list(recent(tmp_path, 890_000))) == 11


def test_an_attempt_settled_as_unknown_counts_with_what_was_held(tmp_path: Path) -> None:
    write(tmp_path, 3)
    FileJournal.start(tmp_path, segment_bytes=SEGMENT_BYTES).stop()
    assert [tokens for _, tokens in recent(tmp_path, 0)] == [2, 3, 1000]
    assert UNKNOWN_USAGE.input_tokens == 0


def test_only_so_many_are_looked_back_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_module, "MOST", 10)
    write(tmp_path, 30)
    assert [opened.request_id for opened, _ in recent(tmp_path, 0)] == [f"r{at}" for at in range(21, 31)]
