"""The ledger's own transaction: entries, their sums, debits, how far the journal is carried, or nothing.

What was carried once is never counted again: the place in the journal is changed with the entries, and an
entry that is there already is left out. Must not know who follows the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import add
from typing import Any

import msgspec
from msgspec.structs import astuple
from sqlalchemy import Connection, Row, insert, select, update

from headgate.core.errors import StoreError
from headgate.core.ports import Opened
from headgate.core.usage import Usage
from headgate.store.balances import debit_usage
from headgate.store.bulk import LARGEST, Rows, add_to, insert_new
from headgate.store.calendar import Calendar
from headgate.store.follow import Ended, Position
from headgate.store.holders import Holders
from headgate.store.rollup import MOST_COUNTED, Cell, Group, Names, Sums, add_up, measures
from headgate.store.schema_ledger import entries, instances, rollup_days, rollup_hours, rollup_months
from headgate.store.terms import Name, Term, number

_MAX_USER = 256
"""Characters kept of an end user's name: clients choose it, and real ones are far shorter."""
_REMEMBERED = 100_000
"""Combinations of names kept in memory, some 30 MiB; beyond it they are looked up anew."""

Account = tuple[str, str, str, str, str, str]
"""Key, team, model, upstream, the model's name there, endpoint: as the journal has them."""


class Outdated(StoreError):
    """Somebody else has carried this journal meanwhile; go on from where it is now."""


class Repeated(StoreError):
    """Some of these entries are there already; look before entering them."""


class Mark(msgspec.Struct, frozen=True):
    """How far one journal is carried."""

    instance: int
    """The journal's number in the database."""
    batches: int
    """How many transactions have carried it; whoever finds another number is outdated."""
    position: Position


def find_mark(connection: Connection, identity: str) -> Mark:
    """How far the journal of this identity is carried; one that is new here is entered."""
    found = read_mark(connection, identity)
    if found is None:
        connection.execute(insert(instances).values(identity=identity))
        found = read_mark(connection, identity)
        assert found is not None
    return found


def read_mark(connection: Connection, identity: str) -> Mark | None:
    """The same for whoever only reads; None where nothing was carried yet."""
    row = connection.execute(select(instances).where(instances.c.identity == identity)).one_or_none()
    return Mark(row.number, row.batches, _position(row)) if row is not None else None


class Ledger:
    """Enters what has ended; remembers numbers of names between transactions."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._holders = Holders()
        self._names: dict[Account, Names] = {}
        self._tag_sets: dict[int, list[int]] = {}

    def enter(
        self,
        connection: Connection,
        mark: Mark,
        ended: Sequence[Ended],
        position: Position,
        now_ms: int,
        *,
        look: bool = False,
        oldest_ms: int = 0,
    ) -> Mark:
        """Enters the attempts that ended between a mark and a position, in the caller's transaction.

        `look` finds out first which of them are there already; older ones than `oldest_ms` are taken to have
        been there and aged out. Raises Outdated or Repeated, and then nothing may be committed; call `forget`
        whenever nothing was.
        """
        mark = _advance(connection, mark, position, now_ms)
        if look and ended:
            ended = _new_ones(connection, mark.instance, ended, oldest_ms)
        if ended:
            if self._holders.refresh(connection) or len(self._names) > _REMEMBERED:
                self._names.clear()
            self._learn(connection, ended)
            self._enter(connection, mark.instance, ended, now_ms)
        return mark

    def forget(self) -> None:
        """After a transaction that was rolled back: the names it made have no numbers."""
        self._names.clear()
        self._tag_sets.clear()

    def _enter(self, connection: Connection, instance: int, ended: Sequence[Ended], now_ms: int) -> None:
        rows: list[tuple[int | str, ...]] = []
        groups: dict[Group, Sums] = {}
        debits: dict[tuple[str, int], int] = {}
        names, buckets, prepaid = self._names, self._calendar.buckets, self._holders.prepaid
        for one in ended:
            opened, closed = one.opened, one.closed
            known = names[account_of(opened)]
            charge, usage = closed.charge, closed.usage
            sums = measures(one)
            user = opened.held.user
            if user and (len(user) > _MAX_USER or "\0" in user):
                user = user[:_MAX_USER].replace("\0", "\ufffd")
            rows.append(
                (
                    *(opened.at_ms, instance, opened.attempt, closed.at_ms, opened.request_id, *known, user),
                    *(int(closed.outcome), closed.status, int(usage.source), *_counts(usage)),
                    *(charge.cost_nanodollars, charge.price_nanodollars),
                )
            )
            group = Group(buckets(opened.at_ms), known)
            if (found := groups.get(group)) is None:
                groups[group] = sums
            else:
                groups[group] = list(map(add, found, sums))
            if opened.held.team_id in prepaid:
                debit = (opened.held.team_id, group.buckets.day_ms)
                debits[debit] = debits.get(debit, 0) + charge.price_nanodollars
        rows.sort()
        if insert_new(connection, entries, rows) != len(rows):
            raise Repeated("entries are there already")
        deltas = add_up(groups, self._tag_sets)
        for table, cells in (
            (rollup_hours, deltas.hours),
            (rollup_days, deltas.days),
            (rollup_months, deltas.months),
        ):
            add_to(connection, table, _cell_rows(cells))
        for (team_id, day_ms), amount in sorted(debits.items()):
            debit_usage(connection, team_id, day_ms, amount, now_ms)

    def _learn(self, connection: Connection, ended: Sequence[Ended]) -> None:
        """Finds the numbers of names that are new."""
        known, tags = self._names, self._holders.tags
        new = {account for one in ended if (account := account_of(one.opened)) not in known}
        if not new:
            return
        wanted: set[Name] = set()
        for account in new:
            wanted.update(_named(account, tags(account[0])))
        sets = {
            text: msgspec.json.decode(text, type=list[str])
            for kind, text in wanted
            if kind == Term.TAGS and text
        }
        wanted.update((int(Term.TAG), tag) for held in sets.values() for tag in held)
        numbers = number(connection, wanted)
        for text, held in sets.items():
            self._tag_sets[numbers[Term.TAGS, text]] = [numbers[Term.TAG, tag] for tag in held]
        for account in new:
            known[account] = Names(*(numbers[name] for name in _named(account, tags(account[0]))))


def account_of(opened: Opened) -> Account:
    """Who is asked for what, as far as sums tell it apart."""
    return (
        opened.key_id,
        opened.held.team_id,
        opened.model,
        opened.upstream,
        opened.upstream_model,
        opened.endpoint,
    )


def _named(account: Account, tags: str) -> list[Name]:
    """The names of an account in the order of `rollup.Names`."""
    key, team, model, upstream, upstream_model, endpoint = account
    target = f"{upstream}/{upstream_model}" if upstream else ""
    named = [
        *((Term.KEY, key), (Term.TEAM, team), (Term.MODEL, model), (Term.TARGET, target)),
        *((Term.ENDPOINT, endpoint), (Term.TAGS, tags)),
    ]
    return [(int(kind), text.replace("\0", "\ufffd")) for kind, text in named]


def _advance(connection: Connection, mark: Mark, position: Position, now_ms: int) -> Mark:
    """Moves the journal's mark; raises Outdated when it is not where it was."""
    moved = (
        update(instances)
        .where(instances.c.number == mark.instance, instances.c.batches == mark.batches)
        .values(batches=mark.batches + 1, carried_ms=now_ms, **msgspec.structs.asdict(position))
    )
    if connection.execute(moved).rowcount != 1:
        raise Outdated("another process has carried this journal")
    return Mark(mark.instance, mark.batches + 1, position)


def _new_ones(connection: Connection, instance: int, ended: Sequence[Ended], oldest_ms: int) -> list[Ended]:
    """Those of the attempts that have no entry yet, each once."""
    times = [one.opened.at_ms for one in ended]
    there = select(entries.c.started_ms, entries.c.attempt).where(
        entries.c.started_ms.between(min(times), max(times)), entries.c.instance == instance
    )
    taken = {(started_ms, attempt) for started_ms, attempt in connection.execute(there)}
    new = []
    for one in ended:
        place = (one.opened.at_ms, one.opened.attempt)
        if place not in taken and place[0] >= oldest_ms:
            taken.add(place)
            new.append(one)
    return new


def _counts(usage: Usage) -> tuple[int, ...]:
    counts: tuple[int, ...] = astuple(usage)[1:]
    return counts if max(counts) <= MOST_COUNTED else tuple(min(count, MOST_COUNTED) for count in counts)


def _cell_rows(cells: dict[Cell, Sums]) -> Rows:
    # In order, so that no two processes wait for rows of each other's.
    rows = [(*cell, *sums) for cell, sums in cells.items()]
    if any(max(row) > LARGEST for row in rows):
        rows = [tuple(min(value, LARGEST) for value in row) for row in rows]
    return sorted(rows)


def _position(row: Row[Any]) -> Position:
    return Position(*(getattr(row, name) for name in Position.__struct_fields__))
