"""One journal segment: a file of fixed size, allocated in full, mapped, appended to without system calls.

Owns the bytes on disk: header, records, checksums. Knows nothing of other segments, threads or recovery.

    header (4096 bytes, two copies inside), record, record, record, 0 0 0 0 ...
    record = length u32, crc32 u32, payload (MessagePack of Opened or Closed)
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import secrets
import struct
import sys
from pathlib import Path
from zlib import crc32

import msgspec

from headgate.core.errors import StoreError, StoreFull

HEADER_BYTES = 4096
"""One page, so that no record shares a page with the header."""
RECORD_HEAD_BYTES = 8
MAX_PAYLOAD_BYTES = 16 * 1024
"""Far above what an attempt needs (about 150 bytes); what is longer when read is not a record of ours."""

_MAGIC = b"headgate"
_VERSION = 1
_COPY_OFFSETS = (0, HEADER_BYTES // 2)
"""Half a page apart: one bad 512-byte sector must not take the salt, and so every record, with it."""
_HEADER = struct.Struct("<8sIIQQQI")
_RECORD_HEAD = struct.Struct("<II")
_ZEROS = bytes(1024 * 1024)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Disk full, quota used up, and the process's own file size limit: all mean that no segment can be made."""

_NOT_SUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
"""What a file system that cannot allocate ahead answers."""

_record_head = _RECORD_HEAD.pack
_get_head = _RECORD_HEAD.unpack_from


class Header(msgspec.Struct, frozen=True):
    """What a segment says about itself and about what came before it."""

    version: int
    salt: int
    """Start value of every checksum in this segment: text that a client chose can never pass for a record."""
    begun_ms: int = 0
    """Unix time of the first append; 0 while it is only prepared."""
    settled_below: int = 0
    """Every attempt opened in a segment with a number below this one had been closed when this one began."""
    next_attempt: int = 0
    """Attempt numbers from here on were free when this one began."""

    @property
    def prepared(self) -> bool:
        """Made ahead and not in use yet."""
        return self.version != 0 and self.begun_ms == 0

    def pack(self) -> bytes:
        """The header's bytes, checksum included."""
        fields = (self.version, self.salt, self.begun_ms, self.settled_below, self.next_attempt)
        body = _HEADER.pack(_MAGIC, *fields, 0)[:-4]
        return body + struct.pack("<I", crc32(body))


def new_header() -> Header:
    """The header of a segment that is prepared and not yet in use."""
    return Header(version=_VERSION, salt=secrets.randbits(32))


def parse_header(data: bytes) -> tuple[Header, str]:
    """The header of a segment and what is wrong with it, or an empty string.

    Of a damaged one the salt is returned as it stands: records whose checksum fits are still ours.
    """
    for offset in _COPY_OFFSETS:
        raw = data[offset : offset + _HEADER.size]
        if len(raw) < _HEADER.size:
            break
        magic, *fields, crc = _HEADER.unpack(raw)
        if magic == _MAGIC and crc == crc32(raw[:-4]):
            header = Header(*fields)
            wrong = "" if header.version == _VERSION else f"format version {header.version}, not {_VERSION}"
            return header, wrong
    salt = _HEADER.unpack_from(data)[2] if len(data) >= _HEADER.size else 0
    return Header(version=0, salt=salt), "no valid segment header"


def sound_record_end(data: bytes, at: int, salt: int) -> int:
    """Where the record at `at` ends; 0 when there is none, or not a whole one."""
    start = at + RECORD_HEAD_BYTES
    if start > len(data):
        return 0
    length, crc = _get_head(data, at)
    end: int = start + length
    if not 0 < length <= MAX_PAYLOAD_BYTES or end > len(data):
        return 0
    return end if crc32(data[start:end], salt) == crc else 0


def sync_file(descriptor: int) -> None:
    """Returns when the file's data is on the disk (on Linux with what was stored into its mapping)."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


def sync_folder(folder: Path) -> None:
    """Makes names that were created, renamed or removed in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def allocate(descriptor: int, size: int) -> None:
    """Gives a file real blocks up to `size`, so that no later store into its mapping can lack room."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
            return
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
    # macOS, and some file systems: write what is there over itself, and zeros where nothing is.
    at = 0
    while at < size:
        block = os.pread(descriptor, min(len(_ZEROS), size - at), at)
        at += os.pwrite(descriptor, block or _ZEROS[: size - at], at)


def _warm(descriptor: int, size: int) -> None:
    # The first store into a page that is not in memory takes milliseconds, with the interpreter lock held;
    # a read brings it there without. Measured on ext4: from 4 ms per segment to nothing.
    for at in range(0, size, len(_ZEROS)):
        os.pread(descriptor, len(_ZEROS), at)


class Segment:
    """A segment that can be appended to. One thread appends; another may call `sync` meanwhile."""

    __slots__ = ("_descriptor", "_map", "_named", "_salt", "at", "path", "size", "synced_at")

    def __init__(self, path: Path, descriptor: int, size: int, header: Header, at: int) -> None:
        self.path = path
        self.size = size
        self.at = at
        """Where the next record goes."""
        self.synced_at = 0
        """Everything below is on the disk."""
        self._named = False
        self._descriptor = descriptor
        self._salt = header.salt
        self._map = mmap.mmap(descriptor, size)
        _warm(descriptor, size)

    @classmethod
    def create(cls, path: Path, size: int) -> Segment:
        """Makes a segment with all its room; raises StoreFull, leaving nothing behind, when there is none."""
        # Under another name until it is whole: a half-made one is never mistaken for a damaged one.
        unfinished = path.with_suffix(".new")
        descriptor = -1
        try:
            descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            allocate(descriptor, size)
            header = new_header()
            for offset in _COPY_OFFSETS:
                os.pwrite(descriptor, header.pack(), offset)
            unfinished.rename(path)
            return cls(path, descriptor, size, header, HEADER_BYTES)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            unfinished.unlink(missing_ok=True)
            raise _cannot(path, "make", error) from error

    @classmethod
    def resume(cls, path: Path, at: int, size: int) -> Segment:
        """Opens a sound segment to append at `at`, clearing what lies behind.

        Raises StoreFull when the file has lost its room and the disk has none.
        """
        descriptor = -1
        try:
            descriptor = os.open(path, os.O_RDWR)
            size = max(size, os.fstat(descriptor).st_size)
            # A restored file may be short or have holes: storing into a hole on a full disk is a SIGBUS.
            allocate(descriptor, size)
            header, _ = parse_header(os.pread(descriptor, HEADER_BYTES, 0))
            segment = cls(path, descriptor, size, header, at)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            raise _cannot(path, "continue", error) from error
        segment._clear_tail()
        return segment

    def _clear_tail(self) -> None:
        # What a torn record left would stand where a shorter one's successor has its head.
        used = len(self._map[self.at :].rstrip(b"\0"))
        self._map[self.at : self.at + used] = bytes(used)

    def begin(self, begun_ms: int, settled_below: int, next_attempt: int) -> None:
        """Marks a prepared segment as the one in use."""
        packed = Header(_VERSION, self._salt, begun_ms, settled_below, next_attempt).pack()
        for offset in _COPY_OFFSETS:
            self._map[offset : offset + len(packed)] = packed

    def append(self, payload: bytes) -> None:
        """Adds one record; the caller has made sure that it fits. Dying in between leaves a torn end."""
        at = self.at
        size = len(payload)
        end = at + RECORD_HEAD_BYTES + size
        self._map[at:end] = _record_head(size, crc32(payload, self._salt)) + payload
        self.at = end  # last: what `sync` finds below is there

    def sync(self) -> None:
        """Returns when what was appended before the call is on the disk; raises OSError if it may not be."""
        at = self.at
        if at == self.synced_at:
            return
        if sys.platform != "linux":
            self._map.flush()  # elsewhere only msync is bound to see what was stored into a mapping
        sync_file(self._descriptor)
        if not self._named:
            sync_folder(self.path.parent)
            self._named = True
        self.synced_at = at

    def close(self) -> None:
        """Gives up the mapping; the records stay."""
        self._map.close()
        os.close(self._descriptor)

    def seal(self) -> None:
        """Ends appending for good: syncs, closes, and gives back the room that was never used."""
        self.sync()
        self._map.close()
        try:
            os.ftruncate(self._descriptor, self.at)
        except OSError:
            pass  # the tail of zeros stays: nothing but its room is lost
        os.close(self._descriptor)


def _cannot(path: Path, verb: str, error: OSError) -> StoreError:
    if error.errno in _NO_ROOM:
        return StoreFull(f"no room to {verb} the journal segment {path}: {error.strerror}")
    return StoreError(f"cannot {verb} the journal segment {path}: {error.strerror}")
