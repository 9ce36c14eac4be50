"""A full disk: new attempts are refused, open ones find room for their outcome, nothing dies of a SIGBUS."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from headgate.core.accounting import Charge
from headgate.core.errors import StoreFull
from headgate.core.ports import Outcome
from headgate.core.usage import Source, Usage
from headgate.store.journal import FileJournal
from headgate.store.reader import list_segments
from tests.store.records import (
    fill,
    fill_until_the_next_is_made,
    open_one,
    open_until_refused,
    outcomes,
    sound,
    wait_until,
)

SEGMENT_BYTES = 1024 * 1024
WIDEST = Usage(Source.PARTIAL, *[2**63 - 1] * (len(Usage.__struct_fields__) - 1))
DEAREST = Charge(2**63 - 1, 2**63 - 1)


class Disk(Protocol):
    folder: Path

    def fill(self) -> None: ...

    def free(self) -> None: ...


class SizeLimit:
    """No file may grow beyond what a segment needs: what a full disk or a quota does, on any machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _, self._most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SEGMENT_BYTES - 1, self._most))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._most, self._most))


class SmallDisk:
    """A file system of its own, filled to the last block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file:
            for block in (65536, 4096, 1):
                with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                    file.writelines(itertools.repeat(bytes(block)))

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)


@pytest.fixture(params=["the size limit", "a small disk where one can be mounted"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    mounted = False
    if request.param != "the size limit":
        mount = ["mount", "-t", "tmpfs", "-o", f"size={4 * SEGMENT_BYTES}", "tmpfs", str(tmp_path)]
        try:
            mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
        except FileNotFoundError:
            mounted = False
    # Where mounting is not allowed the second round repeats the first, with the same assertions.
    made: Disk = SmallDisk(tmp_path) if mounted else SizeLimit(tmp_path)
    yield made
    made.free()
    if mounted:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def start(disk: Disk) -> FileJournal:
    return FileJournal.start(disk.folder / "journal", segment_bytes=SEGMENT_BYTES, fsync_interval_ms=2)


def open_until_full(journal: FileJournal) -> list[int]:
    attempts, said = open_until_refused(journal)
    assert "no room to make the journal segment" in said
    return attempts


def test_open_attempts_end_well_and_new_ones_are_refused_until_there_is_room(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    journal = start(disk)
    fill(journal, 100)
    disk.fill()
    attempts = open_until_full(journal)
    assert len(attempts) > 1000
    for _ in range(1000):
        with pytest.raises(StoreFull):
            open_one(journal)
    for attempt in attempts:
        journal.close(attempt, Outcome.CLIENT_GONE, 2**63 - 1, WIDEST, DEAREST)
    assert len(list_segments(disk.folder / "journal")) == 1
    assert "no room to make the journal segment" in caplog.text
    assert len(caplog.records) == 1, "told once, not once per request"
    disk.free()

    def opens() -> bool:
        try:
            attempts.append(open_one(journal))
        except StoreFull:
            return False
        return True

    wait_until(opens)
    fill(journal, 20_000)
    journal.stop()
    found = outcomes(sound(disk.folder / "journal"))
    assert len(found) == 100 + len(attempts) + 20_000
    assert [attempt for attempt, closes in found.items() if len(closes) != 1] == attempts[-1:]


def test_a_start_on_a_full_disk_settles_what_was_left(disk: Disk) -> None:
    journal = start(disk)
    disk.fill()
    left = open_until_full(journal)
    journal.stop()
    again = start(disk)
    assert [opened.attempt for opened in again.unknown] == left
    again.stop()
    found = outcomes(sound(disk.folder / "journal"))
    assert all([close.outcome for close in closes] == [Outcome.UNKNOWN] for closes in found.values())


def test_a_segment_made_ahead_is_used_when_the_disk_fills_up(disk: Disk) -> None:
    journal = start(disk)
    fill_until_the_next_is_made(journal, disk.folder / "journal")
    disk.fill()
    attempts = open_until_full(journal)
    assert len(list_segments(disk.folder / "journal")) == 2
    for attempt in attempts:
        journal.close(attempt, Outcome.OK, 200, WIDEST)
    journal.stop()
    assert all(len(closes) == 1 for closes in outcomes(sound(disk.folder / "journal")).values())


def test_a_first_start_on_a_full_disk_says_so(disk: Disk) -> None:
    disk.fill()
    with pytest.raises(StoreFull, match="no room to make"):
        start(disk)
    disk.free()
    journal = start(disk)
    fill(journal, 1)
    journal.stop()
