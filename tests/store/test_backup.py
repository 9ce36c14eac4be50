"""A backup is a data folder: what it lacks of the journal is carried when it is used."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from headgate.core.errors import StoreError
from headgate.store.backup import back_up
from headgate.store.carriage import journal_identity
from headgate.store.database import DATABASE_FILE, Database, place
from headgate.store.keys import MASTER_FILE, rotate
from headgate.store.reader import list_segments
from headgate.store.seal import KEY_FILE, load_seal
from tests.services import PostgreSQL
from tests.store.attempts import carried, carrier, carry_all, expect_sums, journal, write


def test_a_backup_of_a_running_gate_loses_nothing(tmp_path: Path, migrated: Path) -> None:
    data, target = tmp_path / "data", tmp_path / "backup"
    written = journal(data)
    identity = journal_identity(data / "journal")
    shutil.copy(migrated, data / DATABASE_FILE)
    rotate(data)
    load_seal(data, None)
    database = Database(place(data, None))
    one = carrier(database, data, identity)
    numbers = write(written, 500)
    carry_all(one)
    numbers += write(written, 20)  # not carried yet
    copied = back_up(place(data, None), target)
    write(written, 5)  # after the copy
    assert copied.database_bytes > 0
    assert copied.segments < len(list_segments(data / "journal")), "what was carried is in the database"
    assert set(copied.files) == {MASTER_FILE, KEY_FILE, "identity"}
    for path in (target, *target.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    written.stop()
    database.close()
    shutil.rmtree(data)

    again = journal(target)
    assert journal_identity(target / "journal") == identity
    restored = Database(place(target, None))
    assert 500 <= len(carried(restored)) < 520
    carry_all(carrier(restored, target, identity))
    assert carried(restored) == Counter(numbers)
    numbers += write(again, 10)
    carry_all(carrier(restored, target, identity))
    assert carried(restored) == Counter(numbers)
    expect_sums(restored)
    assert (target / MASTER_FILE).exists()
    again.stop()
    restored.close()


def test_a_backup_goes_into_a_folder_of_its_own(tmp_path: Path, migrated: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(migrated, data / DATABASE_FILE)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(StoreError, match="not empty"):
        back_up(place(data, None), tmp_path / "taken")
    (tmp_path / "free").mkdir()
    back_up(place(data, None), tmp_path / "free")
    assert (tmp_path / "free" / DATABASE_FILE).exists()
    with pytest.raises(StoreError, match="not empty"):
        back_up(place(data, None), tmp_path / "free")


def test_a_damaged_database_is_no_backup(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / DATABASE_FILE).write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreError):
        back_up(place(data, None), tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_the_copy_is_one_whole_file(tmp_path: Path, migrated: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(migrated, data / DATABASE_FILE)
    back_up(place(data, None), tmp_path / "backup")
    connection = sqlite3.connect(tmp_path / "backup" / DATABASE_FILE)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_with_a_server_everything_else_is_copied(tmp_path: Path, postgres: PostgreSQL) -> None:
    data = tmp_path / "data"
    written = journal(data)
    journal_identity(data / "journal")
    write(written, 300)
    copied = back_up(place(data, postgres.url), tmp_path / "backup")
    assert copied.database_bytes == 0
    assert copied.segments == len(list_segments(data / "journal"))
    written.stop()
