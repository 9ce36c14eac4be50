"""Following a journal: every attempt that ended comes once, wherever one goes on, whatever became of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from headgate.core.ports import Outcome
from headgate.core.usage import UNKNOWN_USAGE
from headgate.store.follow import START, Follower, Position
from headgate.store.reader import list_segments
from tests.store.attempts import journal, truth, write
from tests.store.records import open_one


def everything(follower: Follower, limit: int = 100) -> list[int]:
    """What ended, until nothing more comes."""
    found = []
    while batch := follower.read(limit):
        found += [one.closed.attempt for one in batch]
    return found


def test_a_journal_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "journal")
    assert follower.read(10) == []
    assert follower.position == START


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_every_attempt_comes_once_while_it_is_written(tmp_path: Path, limit: int) -> None:
    written = journal(tmp_path)
    follower = Follower(tmp_path / "journal")
    chance = random.Random(limit)
    numbers, found = [], []
    for _ in range(100):
        numbers += write(written, chance.randrange(30))
        found += [one.closed.attempt for one in follower.read(limit)]
    found += everything(follower)
    written.stop()
    assert len(list_segments(tmp_path / "journal")) > 2
    assert found == numbers
    assert everything(follower) == []


def test_attempts_that_overlap_come_in_order_of_their_ends(tmp_path: Path) -> None:
    written = journal(tmp_path)
    follower = Follower(tmp_path / "journal")
    waiting = [open_one(written) for _ in range(5)]
    assert follower.read(10) == []
    for number in reversed(waiting):
        written.close(number, Outcome.CLIENT_GONE, 0, UNKNOWN_USAGE)
    assert [(one.opened.attempt, one.closed.attempt) for one in follower.read(10)] == [
        (number, number) for number in reversed(waiting)
    ]
    written.stop()


def test_one_goes_on_anywhere(tmp_path: Path) -> None:
    written = journal(tmp_path)
    chance = random.Random(3)
    follower = Follower(tmp_path / "journal")
    ends: list[int] = []
    waiting: list[int] = []
    found: list[int] = []
    for _ in range(1500):
        if len(waiting) < chance.randrange(20):
            waiting.append(open_one(written))
        elif waiting:
            ends.append(waiting.pop(chance.randrange(len(waiting))))
            written.close(ends[-1], Outcome.OK, 200, UNKNOWN_USAGE)
        if chance.random() < 0.3:
            found += [one.closed.attempt for one in follower.read(chance.randrange(1, 9))]
        if chance.random() < 0.2:
            position = follower.position
            follower = Follower(tmp_path / "journal")
            assert follower.resume(position)
            assert follower.position == position
    found += everything(follower)
    written.stop()
    assert found == ends
    assert len(list_segments(tmp_path / "journal")) > 1


def test_an_attempt_left_open_is_found_by_who_goes_on_much_later(tmp_path: Path) -> None:
    written = journal(tmp_path)
    first = open_one(written)
    numbers = write(written, 600)
    follower = Follower(tmp_path / "journal")
    assert everything(follower) == numbers
    position = follower.position
    assert position.open_segment < position.segment
    written.close(first, Outcome.OK, 200, UNKNOWN_USAGE)
    later = Follower(tmp_path / "journal")
    assert later.resume(position)
    (one,) = later.read(10)
    assert (one.opened.attempt, one.opened.model, one.closed.attempt) == (first, "gpt-4o-mini", first)
    written.stop()


def test_a_run_that_was_killed_is_followed_into_the_next(tmp_path: Path) -> None:
    first = journal(tmp_path)
    numbers = write(first, 50)
    left = open_one(first)
    follower = Follower(tmp_path / "journal")
    assert everything(follower) == numbers
    first.stop()
    second = journal(tmp_path)
    (one,) = follower.read(10)
    assert (one.opened.attempt, one.closed.outcome) == (left, Outcome.UNKNOWN)
    more = write(second, 400)
    assert everything(follower) == more
    second.stop()


def test_damage_costs_what_it_hit_and_nothing_else(tmp_path: Path) -> None:
    written = journal(tmp_path)
    numbers = write(written, 400)
    written.stop()
    segments = list_segments(tmp_path / "journal")
    data = bytearray(segments[0].read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20] = b"\xff" * 20
    segments[0].write_bytes(data)
    told: list[str] = []
    found = everything(Follower(tmp_path / "journal", told.append))
    assert set(found) == truth(tmp_path).keys()
    assert len(numbers) - 2 <= len(found) < len(numbers) + 1
    assert len(told) == 1
    assert "unreadable bytes" in told[0]


def test_a_torn_last_record_is_waited_for(tmp_path: Path) -> None:
    written = journal(tmp_path)
    write(written, 5)
    written.stop()
    (segment, *_) = list_segments(tmp_path / "journal")
    whole = segment.read_bytes()
    end = len(whole.rstrip(b"\0"))
    follower = Follower(tmp_path / "journal")
    segment.write_bytes(whole[: end - 9] + bytes(len(whole) - end + 9))
    assert len(everything(follower)) == 4
    segment.write_bytes(whole)
    assert len(everything(follower)) == 1


@pytest.mark.parametrize("what", ["cut", "another", "gone"])
def test_a_place_that_is_not_there_any_more_is_noticed(tmp_path: Path, what: str) -> None:
    written = journal(tmp_path)
    write(written, 5)
    follower = Follower(tmp_path / "journal")
    everything(follower)
    position = follower.position
    written.stop()
    (segment, *_) = list_segments(tmp_path / "journal")
    if what == "cut":  # a power cut took the last record
        data = segment.read_bytes()
        segment.write_bytes(data[: position.last_at] + bytes(len(data) - position.last_at))
    elif what == "another":
        (tmp_path / "other").mkdir()
        other = journal(tmp_path / "other")
        write(other, 5)
        other.stop()
        segment.write_bytes(list_segments(tmp_path / "other" / "journal")[0].read_bytes())
    else:
        segment.unlink()
    assert not Follower(tmp_path / "journal").resume(position)


def test_segments_that_aged_out_are_told(tmp_path: Path) -> None:
    written = journal(tmp_path)
    write(written, 50)
    follower = Follower(tmp_path / "journal")
    everything(follower)
    position = follower.position
    write(written, 900)
    written.stop()
    segments = list_segments(tmp_path / "journal")
    for path in segments[1:3]:
        path.unlink()
    said: list[str] = []
    late = Follower(tmp_path / "journal", said.append)
    assert late.resume(position)
    assert everything(late)
    assert said == ["journal: segments 2 to 3 are gone, and were not carried"]


def test_a_position_is_what_the_columns_hold() -> None:
    assert Position.__struct_fields__ == ("segment", "salt", "at", "last_at", "open_segment", "open_at")
