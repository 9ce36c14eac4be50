"""What was spent, and what is left: as the database says, and with it what the journal holds and nobody has
carried yet. Nothing is counted here for longer than one question takes.
"""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Table, func, select

from headgate.store.balances import balance, credited
from headgate.store.calendar import HOUR_MS, Calendar
from headgate.store.database import Database
from headgate.store.follow import Ended, Follower, Position
from headgate.store.ledger import read_mark
from headgate.store.rollup import Kind
from headgate.store.schema_accounts import teams
from headgate.store.schema_ledger import entries, rollup_days, rollup_hours, rollup_months
from headgate.store.terms import Term, look_up

_AT_ONCE = 5000
"""Records read before a question is answered in part: they are all read in the end."""
_SUBJECTS = {"key": (Kind.KEY, Term.KEY, entries.c.key), "team": (Kind.TEAM, Term.TEAM, entries.c.team)}


class Spending:
    """The `Spending` port, on a database and a journal."""

    def __init__(self, database: Database, journal: Path, identity: str, calendar: Calendar) -> None:
        self._database = database
        self._identity = identity
        self._calendar = calendar
        self._tail = Tail(journal)

    async def spent(self, account: str, since_ms: int) -> int:
        """The price of all attempts of `key:ID` or `team:ID` opened at or after a time; raises StoreError."""
        return await self._database.read(self._spent, account, since_ms)

    async def balance(self, team_id: str) -> int:
        """The sum of a team's credits and debits; raises StoreError."""
        return await self._database.read(self._balance, team_id)

    async def credited(self, team_id: str) -> int:
        """What was paid in and out by hand; raises StoreError."""
        return await self._database.read(credited, team_id)

    def _spent(self, connection: Connection, account: str, since_ms: int) -> int:
        of, _, subject = account.partition(":")
        carried = spent(connection, account, since_ms, self._calendar)
        waiting = sum(
            one.closed.charge.price_nanodollars
            for one in self._waiting(connection)
            if one.opened.at_ms >= since_ms
            and subject == (one.opened.key_id if of == "key" else one.opened.held.team_id)
        )
        return carried + waiting

    def _balance(self, connection: Connection, team_id: str) -> int:
        left = balance(connection, team_id)
        if not connection.execute(select(teams.c.prepaid).where(teams.c.id == team_id)).scalar():
            return left
        return left - sum(
            one.closed.charge.price_nanodollars
            for one in self._waiting(connection)
            if one.opened.held.team_id == team_id
        )

    def _waiting(self, connection: Connection) -> list[Ended]:
        """What has ended and was not carried when the connection's transaction began."""
        mark = read_mark(connection, self._identity)
        return self._tail.after(mark.position if mark is not None else Position())


class Tail:
    """The end of a journal that was not carried yet; a record is read once, however often one asks."""

    def __init__(self, journal: Path) -> None:
        self._follower = Follower(journal, tell=lambda damage: None)  # the carrier tells it
        self._ended: deque[Ended] = deque()
        self._known = Position()
        self._lock = threading.Lock()

    def after(self, position: Position) -> list[Ended]:
        """What has ended behind a position up to now."""
        with self._lock:
            if _place(self._follower.position) < _place(position) or _place(position) < _place(self._known):
                self._ended.clear()
                if not self._follower.resume(position):
                    return []  # not this journal: the carrier finds out what of it is missing
                self._known = position
            while found := self._follower.read(_AT_ONCE):
                self._ended.extend(found)
            while self._ended and (self._ended[0].segment, self._ended[0].at) <= _place(position):
                self._ended.popleft()
            self._known = max(self._known, position, key=_place)
            return list(self._ended)


def spent(connection: Connection, account: str, since_ms: int, calendar: Calendar) -> int:
    """What was carried of the price of all attempts of `key:ID` or `team:ID` opened at or after a time."""
    of, _, subject = account.partition(":")
    kind, term, column = _SUBJECTS[of]
    number = look_up(connection, [(int(term), subject)]).get((int(term), subject))
    if number is None:
        return 0
    at = calendar.buckets(max(since_ms, 0))
    total = 0

    def add(table: Table, from_ms: int, to_ms: int | None = None) -> None:
        nonlocal total
        place = (table.c.kind == int(kind)) & (table.c.subject == number) & (table.c.bucket_ms >= from_ms)
        if to_ms is not None:
            place &= table.c.bucket_ms < to_ms
        total += _sum(connection, table, place)

    if since_ms <= at.month_ms:
        add(rollup_months, since_ms)
        return total
    next_month = calendar.next_month(at.month_ms)
    add(rollup_months, next_month)
    if since_ms == at.day_ms:
        add(rollup_days, since_ms, next_month)
        return total
    next_day = calendar.next_day(at.day_ms)
    add(rollup_days, next_day, next_month)
    if since_ms == at.hour_ms:
        add(rollup_hours, since_ms, next_day)
        return total
    add(rollup_hours, at.hour_ms + HOUR_MS, next_day)
    rest = (entries.c.started_ms >= since_ms) & (entries.c.started_ms < at.hour_ms + HOUR_MS)
    return total + _sum(connection, entries, rest & (column == number))


def _sum(connection: Connection, table: Table, place: ColumnElement[bool]) -> int:
    total = select(func.coalesce(func.sum(table.c.price_nanodollars), 0)).where(place)
    return int(connection.execute(total).scalar_one())


def _place(position: Position) -> tuple[int, int]:
    return (position.segment, position.at)
