"""The journal's own thread: makes the next segment, syncs in groups, seals and deletes old segments.

Everything slow that a journal does to a disk is here, so that the loop never waits for it. Writes no records.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from pathlib import Path

from headgate.core.errors import StoreError, StoreFull
from headgate.store.reader import list_segments, segment_number, segment_path
from headgate.store.recovery import Leftovers
from headgate.store.segment import HEADER_BYTES, Segment, sync_folder

_log = logging.getLogger(__name__)

_RETRY_S = 1.0
"""While no segment can be made (the disk is full), how often to try: soon for people, rare for the loop."""
_IDLE_SYNC_S = 1.0
"""With an interval of 0 each wait is synced at once; records nobody waits for are synced this often."""

Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]


class Upkeep:
    """Works for one journal from `start` to `stop`."""

    def __init__(
        self, folder: Path, found: Leftovers, segment_bytes: int, keep_bytes: int, interval_ms: int
    ) -> None:
        self._folder = folder
        self._found = found
        self._next_number = found.next_number
        self._segment_bytes = segment_bytes
        self._keep_bytes = keep_bytes
        self._interval_s = interval_ms / 1000 or _IDLE_SYNC_S
        self.refusal: StoreError | None = None
        """Why nothing more may be opened, for good: the journal is closed, or a sync failed and what the disk
        then holds is anybody's guess."""
        self.carried_below: int | None = None
        """Segments from this number on were not carried yet; None where nobody carries them."""
        self._sync_error: StoreError | None = None
        self._current: Segment | None = None
        self._spare: Segment | None = None
        self._spare_lock = threading.Lock()
        self._wants_spare = False
        self._make_failed: StoreError | None = None
        self._retry_at = 0.0
        """Monotonic time before which making a segment is not tried again."""
        self._retired: list[tuple[Segment, int]] = []
        self._waiters: list[Waiter] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="headgate-journal", daemon=True)

    def first(self, now_ms: int) -> Segment:
        """The segment to begin with: the one an earlier run wrote last, or a new one; raises StoreFull."""
        found = self._found
        if found.prepared is not None:
            self._spare = self._resume_spare(found.prepared)
        if found.live is not None:
            self._current = Segment.resume(found.live.path, found.live.end, self._segment_bytes)
        else:
            self._current = self.take_spare()
            self._current.begin(now_ms, found.settled_below, found.next_attempt)
        return self._current

    def start(self) -> None:
        """Begins work."""
        self._thread.start()

    def stop(self) -> None:
        """Syncs what is left and closes the files; the records stay."""
        self._stopping = True
        self.refusal = self.refusal or StoreError("the journal is closed")
        self._wake.set()
        self._thread.join()

    @property
    def works(self) -> bool:
        """Nothing keeps records from being written: no failed sync, no full disk."""
        return self.refusal is None and self._make_failed is None

    def want_spare(self) -> None:
        """Asks for the next segment to be made ahead."""
        self._wants_spare = True
        self._wake.set()

    def take_spare(self) -> Segment:
        """The next segment, made now if it is not there yet; raises StoreFull or StoreError."""
        with self._spare_lock:
            segment = self._spare or self._make()
            self._spare = None
            self._wants_spare = False
            return segment

    def switch(self, current: Segment, retired: Segment, oldest_open: int) -> None:
        """Tells that `current` is written from now on; segments below `oldest_open` have no open attempt."""
        with self._lock:
            self._current = current
            self._retired.append((retired, oldest_open))
        self._wake.set()

    async def flushed(self) -> None:
        """Returns when all that was written before the call is on the disk; raises StoreError if not."""
        if self._stopping:
            raise StoreError("the journal is closed")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiters.append((loop, done))
        self._wake.set()
        await done

    def _resume_spare(self, path: Path) -> Segment | None:
        try:
            return Segment.resume(path, HEADER_BYTES, self._segment_bytes)
        except StoreFull:
            path.unlink()  # empty, and with holes: of no use now, and made anew when there is room
            return None

    def _make(self) -> Segment:
        if self._make_failed and time.monotonic() < self._retry_at:
            raise self._make_failed
        try:
            segment = Segment.create(segment_path(self._folder, self._next_number), self._segment_bytes)
        except StoreError as error:
            if not self._make_failed:
                _log.error("%s; new requests are refused once the present segment is full", error)
            self._make_failed = error
            self._retry_at = time.monotonic() + _RETRY_S
            raise
        if self._make_failed:
            _log.warning("the journal in %s has room again", self._folder)
            self._make_failed = None
        self._next_number += 1
        return segment

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._interval_s)
            self._wake.clear()
            self._turn()
        self._turn()
        for segment in (self._current, self._spare):
            if segment is not None:
                segment.close()

    def _turn(self) -> None:
        with self._lock:
            waiters, self._waiters = self._waiters, []
            retired, self._retired = self._retired, []
            current = self._current
        try:
            for segment, _ in retired:
                segment.seal()
            if current is not None:
                current.sync()
        except OSError as error:
            if self._sync_error is None:
                _log.critical(
                    "cannot sync the journal: %s; no new request is taken until the next start", error
                )
            self._sync_error = StoreError(f"cannot sync the journal in {self._folder}: {error.strerror}")
            self.refusal = self._sync_error
        for loop, done in waiters:
            _resolve(loop, done, self._sync_error)
        if self._wants_spare and not self._stopping:
            self._prepare()
        try:
            if retired:
                self._age_out(retired[-1][1])
        except OSError as error:
            _log.error("cannot delete old journal segments in %s: %s", self._folder, error)

    def _prepare(self) -> None:
        with self._spare_lock:
            if self._spare is None:
                try:
                    self._spare = self._make()
                except StoreError:
                    return  # logged; tried again at a later turn
            self._wants_spare = False

    def _age_out(self, oldest_open: int) -> None:
        """Deletes the oldest segments above `keep_bytes`; none with an open attempt, none not carried yet."""
        end = oldest_open if self.carried_below is None else min(oldest_open, self.carried_below)
        sizes = [(path, path.stat().st_size) for path in list_segments(self._folder)]
        total = sum(size for _, size in sizes)
        deleted = False
        for path, size in sizes:
            if total <= self._keep_bytes or segment_number(path) >= end:
                break
            path.unlink()
            total -= size
            deleted = True
        if deleted:
            sync_folder(self._folder)


def _resolve(loop: asyncio.AbstractEventLoop, done: asyncio.Future[None], error: StoreError | None) -> None:
    def settle() -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        pass  # that loop is closed: nobody waits any more
