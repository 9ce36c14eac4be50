"""The carrier: whatever breaks off, comes back, cut or restored: each attempt has one entry in the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from headgate.core.errors import StoreError
from headgate.store.database import DATABASE_FILE, URL_VARIABLE, Database, Place, place
from headgate.store.migrate import migrate
from headgate.store.reader import list_segments
from headgate.store.schema_ledger import entries, instances, rollup_months
from tests.services import postgresql
from tests.store.attempts import carried, carrier, carry_all, expect_sums, journal, truth, write
from tests.store.records import open_one


def expect_truth(database: Database, folder: Path) -> None:
    """Each attempt that ended has one entry, with its outcome; AssertionError if not."""
    expected = truth(folder)
    assert carried(database) == Counter(expected.keys())
    with database.reading() as connection:
        found = connection.execute(select(entries.c.attempt, entries.c.outcome, entries.c.price_nanodollars))
        for number, outcome, price in found:
            assert (outcome, price) == (expected[number].outcome, expected[number].charge.price_nanodollars)
    expect_sums(database)


def test_a_journal_is_carried_while_it_is_written(database: Database, tmp_path: Path) -> None:
    written = journal(tmp_path)
    one = carrier(database, tmp_path, batch_entries=50)
    for count in (0, 1, 30, 200, 7):
        write(written, count)
        carry_all(one)
        expect_truth(database, tmp_path)
    assert one.entries == 238
    assert one.carry() == 0
    written.stop()


def test_another_carrier_goes_on_where_the_last_one_was(database: Database, tmp_path: Path) -> None:
    written = journal(tmp_path)
    left = open_one(written)
    for _ in range(5):
        write(written, 40)
        one = carrier(database, tmp_path, batch_entries=15)
        one.carry()
        one.carry()
        assert one.entries == 30
    written.stop()
    written = journal(tmp_path)
    written.stop()
    last = carrier(database, tmp_path)
    carry_all(last)
    assert last.entries == 51
    assert left in carried(database)
    expect_truth(database, tmp_path)


def test_two_carriers_of_one_journal_enter_nothing_twice(
    database: Database, connect: Callable[[], Database], tmp_path: Path
) -> None:
    written = journal(tmp_path)
    both = [carrier(database, tmp_path, batch_entries=7), carrier(connect(), tmp_path, batch_entries=5)]
    for round_ in range(60):
        write(written, 4)
        both[round_ % 2].carry()
        if round_ % 3 == 0:
            both[(round_ + 1) % 2].carry()
    for one in both:
        carry_all(one)
    expect_truth(database, tmp_path)
    written.stop()


def test_a_database_that_is_away_costs_nothing_but_time(tmp_path: Path) -> None:
    with postgresql(tmp_path / "server") as server:
        database = Database(place(tmp_path, server.create("ledger")))
        migrate(database)
        written = journal(tmp_path, carried=True)
        one = carrier(database, tmp_path)
        write(written, 20)
        carry_all(one)
        for how in (server.kill, server.stop):
            how()
            write(written, 300)
            for _ in range(3):
                with pytest.raises(StoreError):
                    one.carry()
            server.start()
            carry_all(one)
            expect_truth(database, tmp_path)
        assert len(carried(database)) == 620
        written.stop()
        database.close()


def test_what_a_power_cut_took_after_it_was_carried_stays_carried(database: Database, tmp_path: Path) -> None:
    written = journal(tmp_path)
    write(written, 30)
    one = carrier(database, tmp_path)
    carry_all(one)
    assert one.position is not None
    at = one.position.at
    written.stop()
    (segment, *_) = list_segments(tmp_path / "journal")
    data = segment.read_bytes()
    # The last records never reached the disk: the next run writes its own over their place.
    cut = at - 700
    segment.write_bytes(data[:cut] + bytes(len(data) - cut))
    before = carried(database)
    again = journal(tmp_path)
    numbers = write(again, 100)
    carry_all(one)  # a carrier that lived on
    carry_all(carrier(database, tmp_path))  # and one that begins anew
    found = carried(database)
    assert set(before) | set(numbers) <= found.keys()
    assert set(found.values()) == {1}
    expect_sums(database)
    again.stop()


def test_a_database_from_a_backup_catches_up(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / DATABASE_FILE)
    written = journal(tmp_path)
    for number in range(3):
        database = Database(place(tmp_path, None))
        write(written, 50)
        carry_all(carrier(database, tmp_path))
        database.close()
        if number == 0:
            shutil.copy(tmp_path / DATABASE_FILE, tmp_path / "backup")
    shutil.copy(tmp_path / "backup", tmp_path / DATABASE_FILE)
    database = Database(place(tmp_path, None))
    assert len(carried(database)) == 50
    carry_all(carrier(database, tmp_path))
    expect_truth(database, tmp_path)
    assert len(carried(database)) == 150
    written.stop()
    database.close()


def test_a_mark_that_was_lost_makes_nothing_come_twice(database: Database, tmp_path: Path) -> None:
    written = journal(tmp_path)
    write(written, 60)
    carry_all(carrier(database, tmp_path))
    with database.writing() as connection:
        nothing = dict.fromkeys(("segment", "salt", "at", "last_at", "open_segment", "open_at"), 0)
        connection.execute(update(instances).values(**nothing))
    write(written, 10)
    carry_all(carrier(database, tmp_path, batch_entries=25))
    expect_truth(database, tmp_path)
    written.stop()


def test_only_what_was_carried_ages_out_of_the_journal(database: Database, tmp_path: Path) -> None:
    written = journal(tmp_path, carried=True, keep_bytes=1)
    numbers = write(written, 1000)
    kept = list_segments(tmp_path / "journal")
    assert len(kept) > 4
    one = carrier(database, tmp_path)
    carry_all(one)
    assert one.position is not None
    written.carried_below(one.position.segment)
    numbers += write(written, 400)
    written.stop()
    assert not set(kept[:4]) & set(list_segments(tmp_path / "journal"))
    carry_all(one)
    assert carried(database) == Counter(numbers)


def test_entries_age_out_and_sums_stay(database: Database, tmp_path: Path) -> None:
    day_ns = 24 * 3_600_000_000_000
    clock = [time.time_ns() - 10 * day_ns]
    written = journal(tmp_path, clock_ns=lambda: clock[0])
    write(written, 30)
    clock[0] = time.time_ns() - day_ns
    recent = write(written, 5)
    one = carrier(database, tmp_path, keep_entries_days=5)
    carry_all(one)
    assert one.age_out() == 30
    assert one.age_out() == 0
    assert carried(database) == Counter(recent)
    with database.writing() as connection:
        total = select(func.sum(rollup_months.c.attempts)).where(rollup_months.c.kind == 0)
        assert connection.execute(total).scalar() == 35
        # The mark is lost, and the journal read anew: what has aged out must not come again.
        nothing = dict.fromkeys(("segment", "salt", "at", "last_at", "open_segment", "open_at"), 0)
        connection.execute(update(instances).values(**nothing))
    carry_all(carrier(database, tmp_path, keep_entries_days=5))
    with database.reading() as connection:
        assert connection.execute(total).scalar() == 35
    written.stop()


def test_the_program_carries_until_its_input_ends(ready: Place, tmp_path: Path) -> None:
    written = journal(tmp_path)
    write(written, 25)
    orders = {"folder": str(tmp_path), "journal": str(tmp_path / "journal"), "identity": "test"}
    environment = dict(os.environ) | ({URL_VARIABLE: ready.url.reveal()} if ready.url else {})
    with subprocess.Popen(
        [sys.executable, "-m", "headgate.store.carrier"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(json.dumps(orders) + "\n")
        program.stdin.flush()
        told = json.loads(program.stdout.readline())
        assert (told["entries"], told["failure"]) == (25, "")
        write(written, 5)
        while told["entries"] < 30:
            told = json.loads(program.stdout.readline())
        program.stdin.write(
            json.dumps(orders | {"keep_entries_days": 3}) + "\n"
        )  # other orders: it begins anew
        program.stdin.flush()
        numbers = truth(tmp_path).keys() | set(write(written, 3))
        program.stdin.close()
        for line in program.stdout:
            told = json.loads(line)
        assert program.wait() == 0
    assert told["idle"]
    database = Database(ready)
    assert carried(database) == Counter(numbers)
    database.close()
    written.stop()
