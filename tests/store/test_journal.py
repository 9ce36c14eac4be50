"""The journal's promises while it runs: records, numbers, room for every outcome, syncing, ageing out."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from headgate.core.errors import StoreError, StoreFull
from headgate.core.ports import Closed, Opened, Outcome
from headgate.core.usage import UNKNOWN_USAGE, Source, Usage
from headgate.store import segment as segment_module
from headgate.store.journal import CLOSED_BYTES
from headgate.store.reader import SegmentReader, list_segments, read
from headgate.store.segment import HEADER_BYTES
from tests.conftest import run
from tests.store.records import (
    SEGMENT_BYTES,
    USAGE,
    close_one,
    fill,
    fill_until_the_next_is_made,
    open_one,
    open_until_refused,
    outcomes,
    sound,
    start,
    wait_until,
)

YEAR_NS = 365 * 86400 * 10**9


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    now_ns = 1_795_000_000_123 * 10**6
    journal = start(tmp_path, clock_ns=lambda: now_ns)
    attempt = journal.open("req_é", "master", "chat.completions", "模型", "本地", "starter-chat")
    journal.close(attempt, Outcome.CLIENT_GONE, 200, USAGE)
    journal.stop()
    assert attempt == now_ns // 1000
    assert sound(tmp_path) == [
        Opened(
            attempt, now_ns // 10**6, "req_é", "master", "chat.completions", "模型", "本地", "starter-chat"
        ),
        Closed(attempt, now_ns // 10**6, Outcome.CLIENT_GONE, 200, USAGE),
    ]


def test_many_attempts_span_segments_in_order(tmp_path: Path) -> None:
    journal = start(tmp_path)
    attempts = fill(journal, 2000)
    journal.stop()
    assert len(list_segments(tmp_path)) > 5
    records = sound(tmp_path)
    assert [record.attempt for record in records] == [attempt for attempt in attempts for _ in range(2)]
    assert attempts == list(range(attempts[0], attempts[0] + 2000))


def test_everything_is_private(tmp_path: Path) -> None:
    journal = start(tmp_path / "journal")
    fill(journal, 500)
    journal.stop()
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "journal").iterdir()} == {0o600}


def test_open_attempts_are_unknown_at_the_next_start_and_only_once(tmp_path: Path) -> None:
    first = start(tmp_path)
    closed = fill(first, 3)
    left = [open_one(first) for _ in range(4)]
    assert first.open_attempts == 4
    first.stop()

    second = start(tmp_path)
    assert [opened.attempt for opened in second.unknown] == left
    assert second.damage == []
    assert second.open_attempts == 0
    second.stop()
    found = outcomes(sound(tmp_path))
    assert all(len(closes) == 1 for closes in found.values())
    assert {attempt for attempt, (close,) in found.items() if close.outcome is Outcome.UNKNOWN} == set(left)
    assert all(found[attempt][0].usage == UNKNOWN_USAGE for attempt in left)
    assert all(found[attempt][0].usage == USAGE for attempt in closed)

    third = start(tmp_path)
    assert third.unknown == []
    third.stop()
    assert outcomes(sound(tmp_path)) == found


def test_an_attempt_left_open_many_segments_ago_is_found(tmp_path: Path) -> None:
    first = start(tmp_path)
    fill(first, 300)
    left = open_one(first)
    fill(first, 3000)
    first.stop()
    second = start(tmp_path)
    assert [opened.attempt for opened in second.unknown] == [left]
    second.stop()


def test_of_two_outcomes_the_first_stands(tmp_path: Path) -> None:
    journal = start(tmp_path)
    attempt = open_one(journal)
    journal.close(attempt, Outcome.REFUSED, 429, UNKNOWN_USAGE)
    journal.close(attempt, Outcome.OK, 200, USAGE)
    journal.close(attempt + 1, Outcome.OK, 200, USAGE)
    journal.stop()
    assert [close.outcome for close in outcomes(sound(tmp_path))[attempt]] == [Outcome.REFUSED]


def test_numbers_rise_when_the_clock_jumps_back(tmp_path: Path) -> None:
    now_ns = [time.time_ns()]
    first = start(tmp_path, clock_ns=lambda: now_ns[0])
    before = fill(first, 10)
    now_ns[0] -= YEAR_NS
    during = fill(first, 10)
    first.stop()
    second = start(tmp_path, clock_ns=lambda: now_ns[0])
    after = fill(second, 10)
    second.stop()
    assert before + during == list(range(before[0], before[0] + 20))
    # Not merely the next: power loss may have taken the records of attempts that were sent.
    assert after[0] >= during[-1] + 1_000_000
    now_ns[0] += 2 * YEAR_NS
    third = start(tmp_path, clock_ns=lambda: now_ns[0])
    assert open_one(third) == now_ns[0] // 1000
    third.stop()


def test_numbers_are_never_given_twice_when_the_last_segment_holds_no_record(tmp_path: Path) -> None:
    first = start(tmp_path, clock_ns=lambda: 5 * YEAR_NS)
    attempts = fill(first, 1000)
    first.stop()
    in_use = [path for path in list_segments(tmp_path) if next(iter(SegmentReader(path)), None)][-1]
    for path in list_segments(tmp_path):
        if path != in_use:
            path.unlink()
    with in_use.open("r+b") as file:
        file.seek(HEADER_BYTES)
        file.write(bytes(SEGMENT_BYTES - HEADER_BYTES))
    second = start(tmp_path, clock_ns=lambda: 1)
    assert open_one(second) > attempts[-1]
    second.stop()


def test_texts_and_numbers_of_any_size_are_recorded(tmp_path: Path) -> None:
    journal = start(tmp_path)
    long = journal.open("r" * 100_000, "k" * 100_000, "e", "模" * 100_000, "u" * 100_000, "m" * 100_000)
    broken = journal.open("\ud800", "master", "chat.completions", "\udfff", "local", "starter-chat")
    close_one(journal, broken)
    journal.close(long, Outcome.OK, 200, Usage(Source.REPORTED, 10**40, -(10**40), 2**63, 7))
    journal.stop()
    opened, other, _, closed = sound(tmp_path)
    assert isinstance(opened, Opened)
    assert isinstance(other, Opened)
    assert isinstance(closed, Closed)
    assert opened.model == "模" * 512
    assert other.model == "?"
    assert closed.usage == Usage(Source.REPORTED, 2**63 - 1, 0, 2**63 - 1, 7)


def test_room_for_every_outcome_is_kept(tmp_path: Path) -> None:
    """More attempts open than a segment could close: the last are refused, all others find their room."""
    journal = start(tmp_path)
    attempts, said = open_until_refused(journal)
    assert f"{len(attempts)} attempts are open" in said
    segments = len(list_segments(tmp_path))
    for _ in range(100):
        with pytest.raises(StoreFull):
            open_one(journal)
    assert len(list_segments(tmp_path)) <= segments + 1, "each refusal used up a segment"
    widest = Usage(Source.PARTIAL, *[2**63 - 1] * 4)
    for attempt in attempts:
        journal.close(attempt, Outcome.CLIENT_GONE, 2**63 - 1, widest)
    fill(journal, 1000)
    journal.stop()
    assert len(attempts) > (SEGMENT_BYTES - HEADER_BYTES) // CLOSED_BYTES - 5
    assert all(len(closes) == 1 for closes in outcomes(sound(tmp_path)).values())


def test_the_next_segment_is_made_ahead(tmp_path: Path) -> None:
    journal = start(tmp_path)
    fill_until_the_next_is_made(journal, tmp_path)
    assert list_segments(tmp_path)[0].stat().st_size == SEGMENT_BYTES, "the first is not sealed yet"
    journal.stop()
    again = start(tmp_path)
    fill(again, 300)
    again.stop()
    assert [path.name for path in list_segments(tmp_path)][:2] == [
        "000000000001.journal",
        "000000000002.journal",
    ]
    assert sound(tmp_path)


def test_old_segments_age_out(tmp_path: Path) -> None:
    keep_bytes = 4 * SEGMENT_BYTES
    journal = start(tmp_path, keep_bytes=keep_bytes)
    attempts = fill(journal, 5000)

    # The segment in use and the one made ahead come on top.
    wait_until(lambda: len(list_segments(tmp_path)) <= 4 + 2)
    journal.stop()
    assert sum(path.stat().st_size for path in list_segments(tmp_path)) <= keep_bytes + 2 * SEGMENT_BYTES
    kept = [record.attempt for record in sound(tmp_path) if isinstance(record, Closed)]
    assert kept == attempts[-len(kept) :]
    assert len(kept) > 500


def test_a_segment_with_an_open_attempt_never_ages_out(tmp_path: Path) -> None:
    journal = start(tmp_path, keep_bytes=SEGMENT_BYTES)
    fill(journal, 1000)
    wait_until(lambda: not (tmp_path / "000000000001.journal").exists())
    open_attempt = open_one(journal)
    attempts = fill(journal, 3000)
    journal.stop()
    opened = [record.attempt for record in sound(tmp_path) if isinstance(record, Opened)]
    assert set(opened) >= {open_attempt, *attempts}

    again = start(tmp_path, keep_bytes=SEGMENT_BYTES)
    assert [record.attempt for record in again.unknown] == [open_attempt]
    fill(again, 1000)
    wait_until(lambda: open_attempt not in {record.attempt for record in read(tmp_path)})
    again.stop()


class SlowDisk:
    """Stands in for `sync_file`: counts, and waits until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncs = 0
        self.synced: set[int] = set()
        """Inodes."""
        self.began = threading.Event()
        self.go = threading.Event()
        self.error: OSError | None = None
        monkeypatch.setattr(segment_module, "sync_file", self.sync)

    def sync(self, descriptor: int) -> None:
        self.synced.add(os.fstat(descriptor).st_ino)
        self.syncs += 1
        self.began.set()
        assert self.go.wait(60)
        if self.error:
            raise self.error


def test_flushed_waits_for_the_disk_and_callers_share_one_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)

    async def main() -> None:
        journal = start(tmp_path, fsync_interval_ms=0)
        open_one(journal)
        first = asyncio.create_task(journal.flushed())
        await asyncio.to_thread(disk.began.wait, 60)
        others = []
        for _ in range(50):
            open_one(journal)
            others.append(asyncio.create_task(journal.flushed()))
        await asyncio.sleep(0)
        assert not first.done()
        disk.go.set()
        await first
        await asyncio.gather(*others)
        assert disk.syncs == 2, "one for the first, one for the fifty that came while it ran"
        journal.stop()

    run(main())


def test_flushed_does_not_wait_for_the_interval_and_covers_segments_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)
    disk.go.set()

    async def main() -> None:
        journal = start(tmp_path, fsync_interval_ms=10**9)
        fill(journal, 500)
        await journal.flushed()
        *left, in_use = [path for path in list_segments(tmp_path) if next(iter(SegmentReader(path)), None)]
        assert len(left) >= 2
        assert disk.synced >= {path.stat().st_ino for path in (*left, in_use)}
        assert all(path.stat().st_size < SEGMENT_BYTES for path in left), "unused room was not given back"
        journal.stop()

    run(main())


def test_while_the_disk_is_full_a_refusal_costs_no_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = start(tmp_path, fsync_interval_ms=1)
    tries: list[int] = []
    now = time.monotonic()

    def refuse(descriptor: int, offset: int, size: int) -> None:
        tries.append(size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    monkeypatch.setattr("headgate.store.upkeep.time", SimpleNamespace(monotonic=lambda: now))
    attempts, _ = open_until_refused(journal)
    for _ in range(1000):
        with pytest.raises(StoreFull):
            open_one(journal)
    assert len(tries) == 1
    now += 1
    with pytest.raises(StoreFull):
        open_one(journal)
    assert len(tries) == 2
    monkeypatch.undo()
    for attempt in attempts:
        close_one(journal, attempt)
    journal.stop()


def test_records_reach_the_disk_though_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk(monkeypatch)
    disk.go.set()
    for interval_ms in (0, 5):
        before = disk.syncs
        journal = start(tmp_path / str(interval_ms), fsync_interval_ms=interval_ms)
        open_one(journal)
        wait_until(lambda: disk.syncs > before)  # noqa: B023 - awaited inside the turn
        journal.stop()


def test_an_idle_journal_does_not_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk(monkeypatch)
    disk.go.set()

    async def main() -> None:
        journal = start(tmp_path, fsync_interval_ms=1)
        open_one(journal)
        await journal.flushed()
        syncs = disk.syncs
        for _ in range(20):
            await journal.flushed()
        assert disk.syncs == syncs
        journal.stop()

    run(main())


def test_after_a_failed_sync_nothing_new_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = SlowDisk(monkeypatch)
    disk.go.set()

    async def main() -> None:
        journal = start(tmp_path, fsync_interval_ms=0)
        attempt = open_one(journal)
        await journal.flushed()
        disk.error = OSError(errno.EIO, os.strerror(errno.EIO))
        other = open_one(journal)
        with pytest.raises(StoreError, match="Input/output error"):
            await journal.flushed()
        with pytest.raises(StoreError, match="Input/output error"):
            open_one(journal)
        close_one(journal, attempt)
        disk.error = None
        with pytest.raises(StoreError):  # a later sync that succeeds proves nothing about the earlier pages
            await journal.flushed()
        close_one(journal, other)
        journal.stop()

    run(main())
    assert "cannot sync the journal" in caplog.text
    assert all(len(closes) == 1 for closes in outcomes(sound(tmp_path)).values())


def test_a_closed_journal_refuses_and_a_late_outcome_does_no_harm(tmp_path: Path) -> None:
    async def main() -> None:
        journal = start(tmp_path)
        late = open_one(journal)
        journal.stop()
        journal.stop()
        close_one(journal, late)
        with pytest.raises(StoreError, match="closed"):
            open_one(journal)
        with pytest.raises(StoreError, match="closed"):
            await journal.flushed()
        again = start(tmp_path)
        assert [opened.attempt for opened in again.unknown] == [late]
        again.stop()

    run(main())


def test_a_waiter_whose_loop_is_gone_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk(monkeypatch)
    journal = start(tmp_path, fsync_interval_ms=0)
    open_one(journal)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(journal.flushed(), 0.01)

    run(give_up())
    disk.go.set()

    async def go_on() -> None:
        open_one(journal)
        await journal.flushed()

    run(go_on())
    journal.stop()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="file"):
        start(tmp_path / "file")
    with pytest.raises(StoreError, match="missing"):
        start(tmp_path / "missing" / "journal")
