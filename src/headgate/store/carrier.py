"""The program that carries a journal into the database: a process of its own, beside the gate.

`python -m headgate.store.carrier`: its orders are a line of JSON on standard input, new ones another line; it
ends with its input. How far it is, it tells on standard output. Must not know what a request is.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from headgate.core.errors import RecordRefused, StoreError
from headgate.store.calendar import Calendar
from headgate.store.database import URL_VARIABLE, Database, place
from headgate.store.follow import Follower, Position
from headgate.store.ledger import Ledger, Mark, Outdated, Repeated, find_mark
from headgate.store.retention import DAY_MS, age_out

BATCH_ENTRIES = 40_000
"""In one transaction: a second or two when it catches up, which is what other writers wait at worst."""
PAUSE_S = 0.2
"""Between two looks at a quiet journal: reports are that late."""
LONGEST_PAUSE_S = 3.0
SHARE = 4
"""Under load it rests three times as long as it worked: what is carried together costs less, for more of it
goes to the same sums. A full batch is followed by the next at once."""
BREATH_S = 0.01
"""Between two full batches, so that others who write get their turn."""
RETRY_S = (0.5, 1.0, 2.0, 5.0)
"""Pauses while the database is away; the last one again and again."""
NICENESS = 10
"""Requests come first: when all processors are busy the journal waits, and that is what it is for."""
AGE_OUT_S = 600.0
"""Between two looks for entries that are too old."""

_log = logging.getLogger("headgate.ledger")


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate tells its carrier."""

    folder: str
    """The data folder."""
    journal: str
    """The folder of the journal in it."""
    identity: str
    """The journal's, in the database."""
    time_zone: str = "UTC"
    """In which days and months begin."""
    keep_entries_days: int = 0
    """Older entries are deleted, roll-ups stay; 0 keeps all."""
    keep_bodies_hours: int = 0


class Said(msgspec.Struct, frozen=True, tag=True):
    """A line for the gate's log, which has a form of its own."""

    level: int
    message: str


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What the carrier tells its gate."""

    carried_below: int
    """Segments with a number below this one are not needed any more."""
    batches: int
    entries: int
    """Entered since this carrier began."""
    idle: bool
    """Everything in the journal was carried."""
    failure: str = ""
    """Why nothing can be carried now."""


class Carrier:
    """Carries one journal, a batch at a time."""

    def __init__(self, database: Database, orders: Orders, *, batch_entries: int = BATCH_ENTRIES) -> None:
        self._database = database
        self._orders = orders
        self._batch_entries = batch_entries
        self._follower = Follower(Path(orders.journal))
        self._ledger = Ledger(Calendar(ZoneInfo(orders.time_zone)))
        self._mark: Mark | None = None
        self._look = False
        """Entries of this journal may be there although the mark does not say so."""
        self.entries = 0

    @property
    def position(self) -> Position | None:
        """How far the journal is carried; None before the first look."""
        return self._mark.position if self._mark is not None else None

    @property
    def batches(self) -> int:
        """How many transactions have carried this journal, by whomever."""
        return self._mark.batches if self._mark is not None else 0

    def carry(self) -> int:
        """Carries one batch and returns how many ended attempts it held; 0 when there was nothing new.

        Raises StoreError when the database is away: then nothing was changed, and it is to be called again.
        """
        if self._mark is None:
            self._begin()
        mark = self._mark
        assert mark is not None
        ended = self._follower.read(self._batch_entries)
        position = self._follower.position
        if position == mark.position:
            self._look = False
            return 0
        now_ms = time.time_ns() // 1_000_000
        try:
            with self._database.writing() as connection:
                self._mark = self._ledger.enter(
                    connection,
                    mark,
                    ended,
                    position,
                    now_ms,
                    look=self._look,
                    oldest_ms=self._oldest_ms(now_ms),
                )
        except StoreError as error:
            self._mark = None  # begin anew from what the database says
            self._ledger.forget()
            self._look = self._look or isinstance(error, Repeated | RecordRefused)
            if isinstance(error, Outdated | Repeated):
                return 1
            raise
        self.entries += len(ended)
        return max(len(ended), 1)

    def age_out(self) -> int:
        """Deletes some of what is too old; 0 when nothing is left to delete."""
        now_ms = time.time_ns() // 1_000_000
        with self._database.writing() as connection:
            return age_out(
                connection,
                now_ms=now_ms,
                keep_entries_days=self._orders.keep_entries_days,
                keep_bodies_hours=self._orders.keep_bodies_hours,
            )

    def _oldest_ms(self, now_ms: int) -> int:
        """Entries from before may have been deleted by now."""
        days = self._orders.keep_entries_days
        return now_ms - days * DAY_MS if days and self.batches else 0

    def _begin(self) -> None:
        with self._database.writing() as connection:
            mark = find_mark(connection, self._orders.identity)
        if not self._follower.resume(mark.position):
            _log.warning("the journal is not as it was when it was last carried: looking at each entry again")
            self._look = True
        # With the database's mark lost to a restored backup, its entries may be ahead of it.
        self._look = self._look or mark.batches == 0
        self._mark = mark


class Loop:
    """A carrier's work until its orders end."""

    def __init__(self, read_line: Callable[[float], str | None], tell: Callable[[Progress], None]) -> None:
        self._read_line = read_line
        """A line of orders, an empty text when none came within that many seconds, None at the end."""
        self._tell = tell
        self._failures = 0
        self._age_out_s = time.monotonic() + AGE_OUT_S / 10

    def run(self) -> None:
        """Carries until the input ends, and then what is left, unless the database is away."""
        line = self._read_line(60.0)
        while line:
            orders = msgspec.json.decode(line, type=Orders)
            database = Database(place(Path(orders.folder), os.environ.get(URL_VARIABLE)))
            carrier = Carrier(database, orders)
            try:
                line = self._work(carrier)
            finally:
                database.close()

    def _work(self, carrier: Carrier) -> str | None:
        """Carries until other orders come, which are returned, or the end, which is None."""
        while True:
            pause_s = self._turn(carrier)
            line = self._read_line(pause_s)
            if line is None:
                self._finish(carrier)
            if line is None or line:
                return line

    def _turn(self, carrier: Carrier) -> float:
        """One batch; how long to wait before the next."""
        begun_s = time.monotonic()
        try:
            carried = carrier.carry()
            if not carried and time.monotonic() > self._age_out_s:
                aged = carrier.age_out()
                self._age_out_s = time.monotonic() + (BREATH_S if aged else AGE_OUT_S)
        except StoreError as error:
            if not self._failures:
                _log.error("the journal is not carried now, and kept: %s", error)
            pause_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
            self._failures += 1
            self._report(carrier, idle=False, failure=str(error))
            return pause_s
        if self._failures:
            _log.warning("the journal is carried again")
            self._failures = 0
        self._report(carrier, idle=not carried)
        if carried >= BATCH_ENTRIES:
            return BREATH_S
        worked_s = time.monotonic() - begun_s
        return min(max((SHARE - 1) * worked_s, PAUSE_S), LONGEST_PAUSE_S)

    def _finish(self, carrier: Carrier) -> None:
        """Carries what the gate has written last; what cannot be carried now waits for its next run."""
        try:
            while carrier.carry():
                pass
        except StoreError as error:
            _log.warning("the rest of the journal is carried at the next start: %s", error)
        self._report(carrier, idle=True)

    def _report(self, carrier: Carrier, *, idle: bool, failure: str = "") -> None:
        position = carrier.position
        self._tell(
            Progress(
                carried_below=min(position.segment, position.open_segment) if position else 0,
                batches=carrier.batches,
                entries=carrier.entries,
                idle=idle,
                failure=failure,
            )
        )


class _Teller(logging.Handler):
    """Hands what is logged to the gate."""

    def emit(self, record: logging.LogRecord) -> None:
        _write(Said(record.levelno, record.getMessage()))


def _write(told: Progress | Said) -> None:
    sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
    sys.stdout.flush()


def main() -> None:
    """Carries what the orders on standard input say, until it ends."""
    logging.basicConfig(level=logging.INFO, handlers=[_Teller()])
    os.nice(NICENESS)
    told: list[Progress] = []

    def read_line(wait_s: float) -> str | None:
        if not select.select([0], [], [], wait_s)[0]:
            return ""
        return sys.stdin.readline() or None

    def tell(progress: Progress) -> None:
        if told[-1:] != [progress]:
            told[:] = [progress]
            _write(progress)

    try:
        Loop(read_line, tell).run()
    except BrokenPipeError:
        os._exit(0)  # the gate is gone; its next run has a carrier of its own


if __name__ == "__main__":
    main()
