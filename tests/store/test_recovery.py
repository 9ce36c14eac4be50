"""Starting on what an earlier run left: damaged segments are kept aside, half-made ones go."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headgate.core.ports import Closed, Opened, Outcome
from headgate.store import recovery
from headgate.store.journal import CLOSED_BYTES
from headgate.store.reader import SegmentReader, list_segments, read
from headgate.store.recovery import recover
from headgate.store.segment import HEADER_BYTES, Segment
from tests.store.records import SEGMENT_BYTES, close_one, fill, open_one, outcomes, sound, start


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def damage_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 2000 : HEADER_BYTES + 2100] = b"\x99\xa1o garbage " * 8 + b"....."
    path.write_bytes(data)


def test_garbage_in_the_middle_is_kept_aside_and_what_can_be_read_is_used(tmp_path: Path) -> None:
    first = start(tmp_path)
    fill(first, 20)
    left = open_one(first)
    fill(first, 20)
    last = open_one(first)
    first.stop()
    path = tmp_path / "000000000001.journal"
    damage_middle(path)
    before = path.read_bytes()

    second = start(tmp_path)
    assert {opened.attempt for opened in second.unknown} >= {left, last}
    assert len(second.damage) == 1
    assert "000000000001.damaged" in second.damage[0]
    assert "unreadable bytes from byte" in second.damage[0]
    attempt = open_one(second)
    assert attempt > last
    close_one(second, attempt)
    second.stop()
    assert (tmp_path / "000000000001.damaged").read_bytes() == before
    assert names(tmp_path) == ["000000000001.damaged", "000000000002.journal"]

    told: list[str] = []
    records = list(read(tmp_path, lambda path, what: told.append(f"{path.name} {what}")))
    opened_ones = {record.attempt for record in records if isinstance(record, Opened)}
    closed_ones = {record.attempt for record in records if isinstance(record, Closed)}
    assert opened_ones <= closed_ones
    assert len(told) == 1
    third = start(tmp_path)
    assert third.damage == []
    assert third.unknown == []
    third.stop()


def test_damage_in_an_older_segment_keeps_the_later_ones(tmp_path: Path) -> None:
    first = start(tmp_path)
    left = open_one(first)
    fill(first, 1000)
    first.stop()
    segments = list_segments(tmp_path)
    assert len(segments) > 3
    damage_middle(segments[1])
    second = start(tmp_path)
    assert left in {opened.attempt for opened in second.unknown}
    assert len(second.damage) == 1
    second.stop()
    assert "000000000002.damaged" in names(tmp_path)


def test_unreadable_bytes_behind_an_older_segment_are_damage(tmp_path: Path) -> None:
    """Only the segment in use may end in a record that was cut off."""
    first = start(tmp_path)
    open_one(first)
    fill(first, 500)
    first.stop()
    with (tmp_path / "000000000001.journal").open("ab") as file:
        file.write(b"half a record")
    second = start(tmp_path)
    assert "unreadable bytes at the end" in second.damage[0]
    second.stop()


def test_a_long_garbled_end_is_damage_and_a_short_one_is_an_unfinished_record(tmp_path: Path) -> None:
    first = start(tmp_path)
    attempts = fill(first, 3)
    first.stop()
    path = tmp_path / "000000000001.journal"
    sound_bytes = path.read_bytes()
    end = len(sound_bytes.rstrip(b"\0")) + 8
    for length, damaged in ((1, False), (300, False), (SEGMENT_BYTES - end, True)):
        path.write_bytes(sound_bytes[:end] + b"\xff" * length + sound_bytes[end + length :])
        second = start(tmp_path)
        assert bool(second.damage) == damaged
        second.stop()
        assert {record.attempt for record in read(tmp_path, lambda path, what: None)} == set(attempts)


def test_a_foreign_file_is_kept_aside(tmp_path: Path) -> None:
    for content in (b"", b"#!/bin/sh\n" * 900, bytes(SEGMENT_BYTES), b"headgate" * 4000):
        folder = tmp_path / f"folder-{len(content)}"
        first = start(folder)
        attempts = fill(first, 3)
        first.stop()
        (folder / "000000000002.journal").write_bytes(content)
        second = start(folder)
        assert "000000000002.damaged: no valid segment header" in second.damage[0]
        assert (folder / "000000000002.damaged").read_bytes() == content
        assert open_one(second) > attempts[-1]
        second.stop()
        third = start(folder)
        assert len(third.unknown) == 1
        third.stop()


def test_a_half_made_segment_is_removed(tmp_path: Path) -> None:
    first = start(tmp_path)
    fill(first, 3)
    first.stop()
    (tmp_path / "000000000002.new").write_bytes(b"half")
    second = start(tmp_path)
    second.stop()
    assert names(tmp_path) == ["000000000001.journal"]
    assert len(sound(tmp_path)) == 6


def test_a_prepared_segment_is_not_taken_for_the_one_in_use(tmp_path: Path) -> None:
    first = start(tmp_path)
    left = open_one(first)
    first.stop()
    Segment.create(tmp_path / "000000000002.journal", SEGMENT_BYTES).close()
    found = recover(tmp_path)
    assert found.prepared == tmp_path / "000000000002.journal"
    assert found.live is not None
    assert found.live.path == tmp_path / "000000000001.journal"
    second = start(tmp_path)
    assert [opened.attempt for opened in second.unknown] == [left]
    fill(second, 200)
    second.stop()
    assert len(outcomes(sound(tmp_path))) == 201


def test_death_right_after_a_segment_began_loses_nothing(tmp_path: Path) -> None:
    first = start(tmp_path)
    attempts = fill(first, 3)
    left = open_one(first)
    first.stop()
    second = Segment.create(tmp_path / "000000000002.journal", SEGMENT_BYTES)
    second.begin(begun_ms=1, settled_below=1, next_attempt=left + 1)
    second.close()
    again = start(tmp_path, clock_ns=lambda: 1)
    assert [opened.attempt for opened in again.unknown] == [left]
    assert open_one(again) > left
    again.stop()
    assert set(outcomes(sound(tmp_path))) > set(attempts)


def test_only_what_may_hold_an_open_attempt_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start reads the last segment, not a gigabyte."""
    first = start(tmp_path)
    fill(first, 3000)
    first.stop()
    looked: list[str] = []
    whole = recovery._replay

    def replay(reader: SegmentReader, found: recovery.Leftovers) -> None:
        looked.append(reader.path.name)
        whole(reader, found)

    monkeypatch.setattr(recovery, "_replay", replay)
    assert len(list_segments(tmp_path)) > 10
    start(tmp_path).stop()
    assert len(looked) == 1


def test_a_journal_copied_without_its_room_goes_on(tmp_path: Path) -> None:
    """A copy may be sparse, cut to its records, or sealed: it is given its room again."""
    first = start(tmp_path / "from")
    left = [open_one(first) for _ in range(50)]
    first.stop()
    shutil.copytree(tmp_path / "from", tmp_path / "to")
    path = tmp_path / "to" / "000000000001.journal"
    data = path.read_bytes()
    path.write_bytes(data.rstrip(b"\0") + bytes(2))
    second = start(tmp_path / "to")
    assert [opened.attempt for opened in second.unknown] == left
    second.stop()
    assert path.stat().st_size == SEGMENT_BYTES
    found = outcomes(sound(tmp_path / "to"))
    assert all([close.outcome for close in closes] == [Outcome.UNKNOWN] for closes in found.values())


def test_outcomes_that_no_longer_fit_go_to_the_next_segment(tmp_path: Path) -> None:
    """The room was kept in a segment that is now damaged, or smaller ones were made since."""
    first = start(tmp_path, segment_bytes=4 * SEGMENT_BYTES)
    left = [open_one(first) for _ in range(300)]
    first.stop()
    path = tmp_path / "000000000001.journal"
    data = path.read_bytes()
    path.write_bytes(data[: len(data.rstrip(b"\0")) + 100])
    second = start(tmp_path, segment_bytes=HEADER_BYTES + (len(left) + 1) * CLOSED_BYTES)
    assert [opened.attempt for opened in second.unknown] == left
    second.stop()
    assert names(tmp_path) == ["000000000001.journal", "000000000002.journal"]
    assert all(len(closes) == 1 for closes in outcomes(sound(tmp_path)).values())
