"""Reading back: no damage anywhere makes reading fail, hides what came before it, or invents a record."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.accounting import FREE, NOTHING_HELD, Held
from headgate.core.ports import Closed, Opened, Outcome
from headgate.core.usage import Source, Usage
from headgate.store.reader import SegmentReader, list_segments, read
from headgate.store.segment import HEADER_BYTES, parse_header
from tests.store.records import USAGE, close_one, fill, fill_until_the_next_is_made, open_one, sound, start

ATTEMPTS = 40
FIRST_COPY = range(64)
SECOND_COPY = range(HEADER_BYTES // 2, HEADER_BYTES // 2 + 64)


class Sample:
    """One sound segment: its bytes, its records and where each of them ends."""

    def __init__(self, folder: Path) -> None:
        journal = start(folder, segment_bytes=16 * 1024)
        fill(journal, ATTEMPTS)
        open_one(journal)
        journal.stop()
        (path,) = list_segments(folder)
        self.data = path.read_bytes()
        self.records = sound(folder)
        self.ends = []
        at = HEADER_BYTES
        for _ in self.records:
            (length,) = struct.unpack_from("<I", self.data, at)
            at += 8 + length
            self.ends.append(at)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


def flip(data: bytes, at: int, length: int, filler: bytes) -> bytes:
    del length
    return data[:at] + bytes([data[at] ^ (filler[0] or 1)]) + data[at + 1 :]


def overwrite(data: bytes, at: int, length: int, filler: bytes) -> bytes:
    stretch = (filler * (length // len(filler) + 1))[: min(length, len(data) - at)]
    return data[:at] + stretch + data[at + len(stretch) :]


def zero(data: bytes, at: int, length: int, filler: bytes) -> bytes:
    del filler
    return overwrite(data, at, length, b"\0")


def cut_out(data: bytes, at: int, length: int, filler: bytes) -> bytes:
    del filler
    return data[:at] + data[at + length :]


def cut_off(data: bytes, at: int, length: int, filler: bytes) -> bytes:
    del length, filler
    return data[:at]


def insert(data: bytes, at: int, length: int, filler: bytes) -> bytes:
    return data[:at] + (filler * (length // len(filler) + 1))[:length] + data[at:]


def repeat(data: bytes, at: int, length: int, filler: bytes) -> bytes:
    del filler
    return data[:at] + data[max(0, at - length) : at] + data[at:]


def lose_page(data: bytes, at: int, length: int, filler: bytes) -> bytes:
    """Power loss: one page never reached the disk."""
    del length, filler
    page = at // 4096 * 4096
    return data[:page] + bytes(min(4096, len(data) - page)) + data[page + 4096 :]


DAMAGES: list[Callable[[bytes, int, int, bytes], bytes]] = [
    flip,
    overwrite,
    zero,
    cut_out,
    cut_off,
    insert,
    repeat,
    lose_page,
]

KEEPS_PLACES = {flip, overwrite, zero, cut_off, lose_page}
"""After the others a whole record may be gone without a trace."""


def first_difference(one: bytes, other: bytes) -> int:
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))


@st.composite
def damaged(draw: st.DrawFn) -> list[tuple[Callable[[bytes, int, int, bytes], bytes], float, int, bytes]]:
    one = st.tuples(
        st.sampled_from(DAMAGES),
        st.floats(0, 0.999),
        st.integers(1, 3000),
        st.binary(min_size=1, max_size=40),
    )
    return draw(st.lists(one, min_size=1, max_size=3))


@settings(max_examples=400, deadline=None)
@given(damages=damaged(), tail=st.booleans())
def test_damage_hides_only_itself(
    sample: Sample,
    scratch: Path,
    damages: list[tuple[Callable[[bytes, int, int, bytes], bytes], float, int, bytes]],
    tail: bool,
) -> None:
    data = sample.data
    # Where the records are, unless the damage is to be anywhere, the zeros at the end included.
    span = len(data) if tail else sample.ends[-1]
    for damage, place, length, filler in damages:
        data = damage(data, int(place * min(span, max(1, len(data) - 1))), length, filler) or b"\0"
    path = scratch / "000000000001.journal"
    path.write_bytes(data)
    reader = SegmentReader(path)
    found = list(reader)

    known = {msgspec.msgpack.encode(record) for record in sample.records}
    assert {msgspec.msgpack.encode(record) for record in found} <= known, "a record was invented"
    if not parse_header(data)[1]:
        intact = first_difference(data[HEADER_BYTES:], sample.data[HEADER_BYTES:]) + HEADER_BYTES
        if data[:HEADER_BYTES] == sample.data[:HEADER_BYTES]:
            before = [
                record for record, end in zip(sample.records, sample.ends, strict=True) if end <= intact
            ]
            assert found[: len(before)] == before, "a record before the damage was lost"
    else:
        assert reader.damage
    places = {sample.records.index(record) for record in found}
    in_place = all(damage in KEEPS_PLACES for damage, *_ in damages)
    if in_place and places and len(places) <= max(places):
        assert reader.damage, "records in the middle are missing and nothing is said"


@settings(max_examples=60, deadline=None)
@given(damages=damaged())
def test_a_journal_starts_on_any_damage_and_settles_what_it_can_read(
    sample: Sample,
    tmp_path_factory: pytest.TempPathFactory,
    damages: list[tuple[Callable[[bytes, int, int, bytes], bytes], float, int, bytes]],
) -> None:
    data = sample.data
    for damage, place, length, filler in damages:
        data = damage(data, int(place * max(1, len(data) - 1)), length, filler) or b"\0"
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "000000000001.journal").write_bytes(data)
    readable = {record.attempt for record in SegmentReader(folder / "000000000001.journal")}
    journal = start(folder, segment_bytes=16 * 1024)
    close_one(journal, open_one(journal))
    journal.stop()
    records = list(read(folder, lambda path, what: None))
    opened = {record.attempt for record in records if isinstance(record, Opened)}
    closed = [record.attempt for record in records if isinstance(record, Closed)]
    assert readable <= opened | set(closed)
    assert opened <= set(closed), "an attempt has no outcome"
    if (folder / "000000000001.damaged").exists():
        assert journal.damage
        assert (folder / "000000000001.damaged").read_bytes() == data, "what was kept aside was changed"


def test_each_record_lost_alone_leaves_all_others(sample: Sample, scratch: Path) -> None:
    path = scratch / "000000000001.journal"
    starts = [HEADER_BYTES, *sample.ends[:-1]]
    for index, (begin, end) in enumerate(zip(starts, sample.ends, strict=True)):
        for at in (begin, begin + 4, begin + 8, end - 1):  # length, checksum, first and last payload byte
            path.write_bytes(flip(sample.data, at, 1, b"\x41"))
            reader = SegmentReader(path)
            assert list(reader) == sample.records[:index] + sample.records[index + 1 :]
            last = index == len(sample.records) - 1
            assert bool(reader.torn_bytes) == last, "the last one may just be unfinished"
            assert bool(reader.damage) != last


def test_every_cut_reads_up_to_the_last_whole_record(sample: Sample, scratch: Path) -> None:
    path = scratch / "000000000001.journal"
    whole = 0
    for cut in [*sample.ends[:-6], *range(sample.ends[-6], sample.ends[-1] + 1)]:
        while whole < len(sample.ends) and sample.ends[whole] <= cut:
            whole += 1
        path.write_bytes(sample.data[:cut])
        reader = SegmentReader(path)
        assert list(reader) == sample.records[:whole]
        assert not reader.damage


def test_text_from_a_client_cannot_pass_for_a_record(tmp_path: Path) -> None:
    """A name that spells a whole record, checksum and all, is not read even where its record is damaged."""
    forged = Closed(4242, 0, Outcome.OK, 200, USAGE)
    payload = msgspec.msgpack.encode(forged)
    journal = start(tmp_path)
    name = b"".join(
        struct.pack("<II", len(payload), crc32(payload, salt)) + payload for salt in (0, 2**32 - 1)
    )
    attempts = [
        journal.open("r", "k", "e", text, "u", "m")
        for text in (name.decode("latin-1"), name.decode("utf-8", "ignore"), payload.decode("latin-1"))
    ]
    fill(journal, 3)
    journal.stop()
    (path,) = list_segments(tmp_path)
    data = path.read_bytes()
    path.write_bytes(flip(data, HEADER_BYTES + 9, 1, b"\1"))
    found = list(SegmentReader(path))
    assert len(found) == 2 + 6
    assert 4242 not in {record.attempt for record in found}
    assert {record.attempt for record in found} >= set(attempts[1:])


def test_a_record_of_a_kind_not_known_here_is_told_and_passed_over(tmp_path: Path) -> None:
    journal = start(tmp_path)
    before = fill(journal, 1)
    journal._segment.append(msgspec.msgpack.encode(["x", 1, 2]))
    after = fill(journal, 1)
    journal.stop()
    told: list[str] = []
    found = list(read(tmp_path, lambda path, what: told.append(what)))
    assert [record.attempt for record in found] == [before[0]] * 2 + [after[0]] * 2
    assert len(told) == 1
    assert "not known here" in told[0]


def test_fields_added_later_do_not_disturb(tmp_path: Path) -> None:
    journal = start(tmp_path)
    journal._segment.append(
        msgspec.msgpack.encode(["o", 1, 2, "r", "k", "e", "m", "u", "n", [3, 4, 5, "t", "u", {}], {}])
    )
    journal.stop()
    assert sound(tmp_path) == [Opened(1, 2, "r", "k", "e", "m", "u", "n", Held(3, 4, 5, "t", "u"))]


def test_records_of_earlier_versions_are_read(tmp_path: Path) -> None:
    journal = start(tmp_path)
    journal._segment.append(msgspec.msgpack.encode(["o", 1, 2, "r", "k", "e", "m", "u", "n"]))
    journal._segment.append(msgspec.msgpack.encode(["c", 1, 3, 1, 200, [1, 2, 0, 3, 0]]))
    journal.stop()
    assert sound(tmp_path) == [
        Opened(1, 2, "r", "k", "e", "m", "u", "n", NOTHING_HELD),
        Closed(1, 3, Outcome.OK, 200, Usage(Source.REPORTED, 2, 0, 3, 0), FREE),
    ]


def test_damage_is_logged_unless_the_caller_asks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = start(tmp_path)
    fill(journal, 3)
    journal.stop()
    (path,) = list_segments(tmp_path)
    path.write_bytes(flip(path.read_bytes(), HEADER_BYTES + 20, 1, b"\1"))
    assert len(list(read(tmp_path))) == 5
    assert str(path) in caplog.text
    assert "unreadable bytes" in caplog.text


def test_strangers_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    journal = start(tmp_path)
    fill(journal, 3)
    journal.stop()
    for name in ("notes.txt", "1.journal", "000000000001.journal.bak", "000000000001.journal~"):
        (tmp_path / name).write_bytes(b"not ours")
    again = start(tmp_path)
    again.stop()
    assert len(sound(tmp_path)) == 6
    assert (tmp_path / "notes.txt").read_bytes() == b"not ours"


def test_a_copy_taken_while_the_file_is_written_is_looked_at_again(sample: Sample, scratch: Path) -> None:
    """The copy may show a page as it was and a later page as it is: no damage, and nothing is missed."""
    path = scratch / "000000000001.journal"
    path.write_bytes(sample.data)
    for index in range(len(sample.records) - 2):
        reader = SegmentReader(path)
        reader.load()
        begin, end = sample.ends[index], sample.ends[index + 1]
        reader._take(sample.data[:begin] + bytes(end - begin) + sample.data[end:])
        assert list(reader) == sample.records
        assert not reader.damage


def test_what_is_added_before_the_next_segment_begins_is_not_missed(tmp_path: Path) -> None:
    journal = start(tmp_path)
    attempts = fill_until_the_next_is_made(journal, tmp_path)
    reading = read(tmp_path)
    first = next(reading)  # the first segment is copied, the second is only prepared
    attempts += fill(journal, 300)
    journal.stop()
    assert len(list_segments(tmp_path)) > 2
    numbers = [first.attempt, *(record.attempt for record in reading)][::2]
    assert numbers == attempts[: len(numbers)]
    assert len(numbers) > 200


def test_reading_stops_before_a_segment_that_begins_meanwhile(tmp_path: Path) -> None:
    """Else it would show records of that one, and miss the last ones of the segment before it."""
    journal = start(tmp_path)
    attempts = fill_until_the_next_is_made(journal, tmp_path)
    reading = read(tmp_path)
    seen = [next(reading).attempt for _ in range(2 * len(attempts))]
    attempts += fill(journal, 3)
    seen.append(next(reading).attempt)  # the second segment was looked at, and is only prepared
    attempts += fill(journal, 300)
    seen += [record.attempt for record in reading]
    journal.stop()
    assert seen[::2] == attempts[: len(seen) // 2]


def test_a_live_journal_reads_without_gaps(tmp_path: Path) -> None:
    """Another process writes as fast as it can, over many segments; every look shows an unbroken sequence."""
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.store.storm", "write", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    seen = 0
    segments = 0
    try:
        while seen < 40_000 or segments < 4:
            assert writer.poll() is None
            records = sound(tmp_path)
            numbers = [record.attempt for record in records if isinstance(record, Opened)]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert len(numbers) - (len(records) - len(numbers)) in {0, 1}, "at most one is open"
            assert len(records) >= seen
            seen = len(records)
            segments = len(list_segments(tmp_path))
    finally:
        writer.stdin.close()
        assert writer.wait(60) == 0
        writer.stdout.close()
    assert len(sound(tmp_path)) >= seen
