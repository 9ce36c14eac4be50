"""One segment on disk: its header's two copies, its room, and what is left of a record that was cut off."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from headgate.core.errors import StoreError, StoreFull
from headgate.store import segment as segment_module
from headgate.store.reader import SegmentReader
from headgate.store.segment import HEADER_BYTES, Header, Segment, allocate, parse_header, sound_record_end
from tests.store.records import SEGMENT_BYTES

SECOND_COPY = HEADER_BYTES // 2


def made(tmp_path: Path) -> Segment:
    return Segment.create(tmp_path / "000000000001.journal", SEGMENT_BYTES)


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def blocks_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_a_new_segment_has_all_its_room(tmp_path: Path) -> None:
    segment = made(tmp_path)
    assert segment.path.stat().st_size == SEGMENT_BYTES
    assert blocks_bytes(segment.path) >= SEGMENT_BYTES
    assert list(tmp_path.iterdir()) == [segment.path]
    segment.close()


def test_two_segments_do_not_share_a_salt(tmp_path: Path) -> None:
    salts = set()
    for number in range(3):
        segment = Segment.create(tmp_path / f"{number:012d}.journal", SEGMENT_BYTES)
        segment.close()
        salts.add(parse_header(segment.path.read_bytes())[0].salt)
    assert len(salts) == 3


def test_a_sealed_segment_gives_back_its_unused_room(tmp_path: Path) -> None:
    segment = made(tmp_path)
    segment.append(b"record")
    segment.seal()
    assert segment.path.stat().st_size == HEADER_BYTES + 8 + len(b"record")


@pytest.mark.parametrize("lost", [0, SECOND_COPY])
def test_one_copy_of_the_header_is_enough(tmp_path: Path, lost: int) -> None:
    segment = made(tmp_path)
    segment.begin(begun_ms=7, settled_below=3, next_attempt=99)
    segment.close()
    data = bytearray(segment.path.read_bytes())
    whole, wrong = parse_header(bytes(data))
    assert not wrong
    assert (whole.begun_ms, whole.settled_below, whole.next_attempt) == (7, 3, 99)
    for index in range(lost, lost + 48):
        damaged = data.copy()
        damaged[index] ^= 0x55
        assert parse_header(bytes(damaged)) == (whole, "")
    data[lost : lost + 512] = bytes(512)
    assert parse_header(bytes(data)) == (whole, "")


def test_dying_while_a_segment_begins_leaves_it_prepared_or_begun(tmp_path: Path) -> None:
    """`begin` rewrites the first copy, then the second: at every byte in between, one of the two is whole."""
    segment = made(tmp_path)
    before = segment.path.read_bytes()
    segment.begin(begun_ms=7, settled_below=3, next_attempt=99)
    segment.close()
    after = segment.path.read_bytes()
    changed = [index for index in range(HEADER_BYTES) if before[index] != after[index]]
    seen = set()
    for index in [*changed, HEADER_BYTES]:
        header, wrong = parse_header(after[:index] + before[index:])
        assert not wrong
        seen.add(header.begun_ms)
        assert (header.begun_ms == 0) == (header.next_attempt == 0)
    assert seen == {0, 7}


def test_another_version_is_named(tmp_path: Path) -> None:
    packed = Header(version=2, salt=5).pack().ljust(HEADER_BYTES, b"\0")
    header, wrong = parse_header(packed)
    assert header.salt == 5
    assert "version 2" in wrong


@pytest.mark.parametrize("size", [0, 1, 43, 44, 2048, HEADER_BYTES])
def test_what_is_no_segment_says_so(size: int) -> None:
    assert parse_header(b"x" * size)[1]
    assert parse_header(bytes(size))[1]


def test_a_torn_record_is_cleared_before_going_on(tmp_path: Path) -> None:
    """The payload of a record that was cut off must not become the head behind a shorter record."""
    segment = made(tmp_path)
    at = segment.at
    segment.close()
    with segment.path.open("r+b") as file:
        file.seek(at + 8)
        file.write(b"\x01\0\0\0" * 500)
    again = Segment.resume(segment.path, at, SEGMENT_BYTES)
    again.append(b"short")
    again.close()
    data = segment.path.read_bytes()
    assert data[again.at :].count(0) == len(data) - again.at


def test_a_restored_segment_with_holes_gets_its_room_back(tmp_path: Path) -> None:
    segment = made(tmp_path)
    segment.append(b"kept")
    segment.seal()
    os.truncate(segment.path, SEGMENT_BYTES)
    assert blocks_bytes(segment.path) < SEGMENT_BYTES
    again = Segment.resume(segment.path, segment.at, SEGMENT_BYTES)
    assert blocks_bytes(segment.path) >= SEGMENT_BYTES
    again.append(b"more")
    again.close()
    data = segment.path.read_bytes()
    salt = parse_header(data)[0].salt
    end = sound_record_end(data, HEADER_BYTES, salt)
    assert sound_record_end(data, end, salt) == again.at


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_where_nothing_can_be_allocated_ahead_zeros_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(descriptor: int, offset: int, size: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    monkeypatch.setattr(segment_module, "_ZEROS", bytes(10_000))
    path = tmp_path / "file"
    with path.open("w+b") as file:
        file.write(b"head")
        file.seek(30_000)
        file.write(b"middle")
        file.truncate(60_000)
        before = path.read_bytes()
        allocate(file.fileno(), 100_000)
    assert path.read_bytes() == before + bytes(40_000)
    assert blocks_bytes(path) >= 100_000


def test_without_the_call_at_all_zeros_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    segment = made(tmp_path)
    assert blocks_bytes(segment.path) >= SEGMENT_BYTES
    segment.close()
    assert not SegmentReader(segment.path).damage


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EIO, StoreError)]
)
def test_a_segment_that_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[StoreError]
) -> None:
    def refuse(descriptor: int, offset: int, size: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    descriptors = open_descriptors()
    with pytest.raises(StoreError, match="000000000001") as caught:
        made(tmp_path)
    assert type(caught.value) is kind
    assert not list(tmp_path.iterdir())
    assert open_descriptors() == descriptors
