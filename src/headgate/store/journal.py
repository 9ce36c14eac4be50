"""The journal: what was sent upstream and how it ended, kept through kill -9 at any instant.

Owns the order of records, the room kept for every outcome, and attempt numbers. Records go into a mapped
file: no system call each, and what was stored outlives the process. Must not know what an attempt is for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from headgate.core.accounting import FREE, NOTHING_HELD, Charge, Held
from headgate.core.errors import StoreError, StoreFull
from headgate.core.ports import Closed, Opened, Outcome
from headgate.core.usage import UNKNOWN_USAGE, Source, Usage
from headgate.store.reader import read, segment_number
from headgate.store.recovery import ATTEMPT_GAP, Leftovers, recover
from headgate.store.segment import HEADER_BYTES, MAX_PAYLOAD_BYTES, RECORD_HEAD_BYTES, Segment
from headgate.store.upkeep import Upkeep

__all__ = ["FileJournal", "read"]

Texts = TypeVar("Texts", bound=msgspec.Struct)
Clock = Callable[[], int]
"""Nanoseconds of Unix time."""

SEGMENT_BYTES = 8 * 1024 * 1024
"""About 50,000 attempts, and room for the outcomes of 85,000 open ones: more than a process has sockets."""
KEEP_BYTES = 1024 * 1024 * 1024
"""About six million attempts to look back at, in a size that no disk feels."""
FSYNC_INTERVAL_MS = 1000
"""What power loss may take. The death of the process takes nothing, and one sync a second is no load."""

_LARGEST = 2**63 - 1
"""The largest number MessagePack and any database column hold."""
_MAX_TEXT = 512
"""Characters kept of a text in a record that would be too long; real names are far shorter."""

_encode = msgspec.msgpack.Encoder().encode
_counts = Usage.__struct_fields__[1:]
_widest_usage = msgspec.structs.replace(Usage(Source.PARTIAL), **dict.fromkeys(_counts, _LARGEST))
_widest_charge = Charge(_LARGEST, _LARGEST)
_widest = Closed(_LARGEST, _LARGEST, Outcome.CLIENT_GONE, _LARGEST, _widest_usage, _widest_charge)
CLOSED_BYTES = RECORD_HEAD_BYTES + len(_encode(_widest))
"""The largest `Closed` record: the room kept for every open attempt."""
OPENED_MORE_BYTES = RECORD_HEAD_BYTES + CLOSED_BYTES
"""Taken by opening an attempt, besides its payload."""


class FileJournal:
    """The `Journal` port on a folder of segments. One thread calls it: the loop's."""

    def __init__(self, upkeep: Upkeep, segment: Segment, found: Leftovers, clock_ns: Clock) -> None:
        self.unknown: list[Opened] = list(found.open.values())
        """Attempts of earlier runs whose end nobody saw; they are closed as unknown by now."""
        self.damage: list[str] = found.damage
        """What could not be read of earlier runs, one sentence each."""
        self.durable = False
        """Its users are to await `flushed`; with an interval of 0."""
        self._upkeep = upkeep
        self._clock_ns = clock_ns
        self._next_attempt = max(found.next_attempt + ATTEMPT_GAP, clock_ns() // 1000)
        self._open = dict.fromkeys(found.open, found.settled_below)
        """The number of the segment in which each open attempt was opened, in order of attempts."""
        self._room = 0
        """Bytes that no outcome of an open attempt may still need."""
        self._low_room = 0
        """With less room than this the next segment is made ahead; 0 once that was asked for."""
        self._use(segment)

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        fsync_interval_ms: int = FSYNC_INTERVAL_MS,
        keep_bytes: int = KEEP_BYTES,
        carried: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
        clock_ns: Clock = time.time_ns,
    ) -> FileJournal:
        """Opens or makes the journal in a folder this process has locked; settles what was left open there.

        Of one that is `carried` into a database nothing is deleted that `carried_below` was not told of.
        Raises StoreFull when there is no room even for that, and StoreError when the folder cannot be used.
        """
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = recover(folder)
        except OSError as error:
            raise StoreError(f"cannot read the journal in {folder}: {error.strerror}") from error
        upkeep = Upkeep(folder, found, segment_bytes, keep_bytes, fsync_interval_ms)
        upkeep.carried_below = 0 if carried else None
        segment = upkeep.first(clock_ns() // 1_000_000)
        journal = cls(upkeep, segment, found, clock_ns)
        journal.durable = fsync_interval_ms == 0
        upkeep.start()
        try:
            journal._settle_unknown()
        except StoreError:
            journal.stop()
            raise
        return journal

    def open(
        self,
        request_id: str,
        key_id: str,
        endpoint: str,
        model: str,
        upstream: str,
        upstream_model: str,
        held: Held = NOTHING_HELD,
    ) -> int:
        """Records that a request is about to be sent and returns the attempt's number.

        Raises StoreFull when the disk has no room for it and its outcome, StoreError after a failed sync.
        """
        attempt = self._next_attempt
        now_ms = self._clock_ns() // 1_000_000
        record = Opened(attempt, now_ms, request_id, key_id, endpoint, model, upstream, upstream_model, held)
        try:
            payload = _encode(record)
        except UnicodeEncodeError:
            payload = _encode(_shortened(record))
        if len(payload) > MAX_PAYLOAD_BYTES:
            payload = _encode(_shortened(record))
        needed = len(payload) + OPENED_MORE_BYTES
        room = self._room - needed
        if room < self._low_room or self._upkeep.refusal:
            room = self._make_room(needed)
        self._segment.append(payload)
        self._room = room
        self._open[attempt] = self._number
        self._next_attempt = attempt + 1
        return attempt

    def close(
        self,
        attempt: int,
        outcome: Outcome,
        status: int,
        usage: Usage,
        charge: Charge = FREE,
    ) -> None:
        """Records how it ended; the room was kept by `open`. Of several outcomes the first one stands."""
        if self._open.pop(attempt, None) is None:
            return
        record = Closed(attempt, self._clock_ns() // 1_000_000, outcome, status, usage, charge)
        try:
            payload = _encode(record)
        except OverflowError:
            payload = _encode(_clamped(record))
        self._segment.append(payload)
        self._room += CLOSED_BYTES - RECORD_HEAD_BYTES - len(payload)

    @property
    def open_attempts(self) -> int:
        """How many attempts have no outcome yet."""
        return len(self._open)

    @property
    def writable(self) -> bool:
        """Whether records can be written, as far as is known now."""
        return self._upkeep.works

    def carried_below(self, number: int) -> None:
        """Everything in segments below this number is in the database: they may age out."""
        self._upkeep.carried_below = number

    async def flushed(self) -> None:
        """Returns when everything recorded before the call would outlive a power loss; raises StoreError.

        Concurrent callers share one sync. For an interval of 0: await it after `open`, before sending, and
        after `close`, before the reply's last byte.
        """
        await self._upkeep.flushed()

    def stop(self) -> None:
        """Syncs and closes the files; attempts still open are settled as unknown at the next start."""
        self._open.clear()  # a late `close` must find nothing to write
        self._upkeep.stop()

    def _use(self, segment: Segment) -> None:
        self._segment = segment
        self._number = segment_number(segment.path)
        self._room = segment.size - segment.at - len(self._open) * CLOSED_BYTES
        self._low_room = segment.size // 4

    def _make_room(self, needed: int) -> int:
        """The room left once `needed` bytes are taken, in the next segment if this one has not enough."""
        if self._upkeep.refusal:
            raise self._upkeep.refusal
        if self._low_room:
            self._low_room = 0
            self._upkeep.want_spare()
        if self._room < needed:
            self._rotate(needed)
        return self._room - needed

    def _rotate(self, needed: int) -> None:
        """Goes on in the next segment, which must have room for `needed` bytes; raises StoreFull."""
        kept = len(self._open) * CLOSED_BYTES
        if HEADER_BYTES + kept + needed > self._segment.size:
            raise StoreFull(
                f"{len(self._open)} attempts are open: no room to keep for the outcome of another"
            )
        retired = self._segment
        segment = self._upkeep.take_spare()
        # Attempts rise and dicts keep their order, so the first is in the oldest segment.
        oldest_open = next(iter(self._open.values()), segment_number(segment.path))
        segment.begin(self._clock_ns() // 1_000_000, oldest_open, self._next_attempt)
        self._use(segment)
        self._upkeep.switch(segment, retired, oldest_open)

    def _settle_unknown(self) -> None:
        # The room was kept by the run before, unless its segment was damaged.
        if self._room < 0:
            self._rotate(0)
        for opened in self.unknown:
            # What an upstream has done for it nobody can tell: the most that it can be, so that no budget is
            # passed, and never more than was held against one.
            charge = Charge(opened.held.cost_nanodollars, opened.held.price_nanodollars)
            self.close(opened.attempt, Outcome.UNKNOWN, 0, UNKNOWN_USAGE, charge)


def _shortened(record: Opened) -> Opened:
    """The record with texts cut to a bounded length, and made encodable."""
    return _cut_texts(record, held=_cut_texts(record.held))


def _cut_texts(record: Texts, **replaced: object) -> Texts:
    texts = {
        name: value[:_MAX_TEXT].encode("utf-8", "replace").decode()
        for name in record.__struct_fields__
        if isinstance(value := getattr(record, name), str)
    }
    return msgspec.structs.replace(record, **texts, **replaced)


def _clamped(record: Closed) -> Closed:
    """The record with numbers an upstream made up cut to what can be kept."""
    counts = {name: min(max(getattr(record.usage, name), 0), _LARGEST) for name in _counts}
    return msgspec.structs.replace(record, usage=msgspec.structs.replace(record.usage, **counts))
