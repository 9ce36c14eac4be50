"""Transactions on both databases: all or nothing, one writer at a time, errors without secrets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select, update

from headgate.core.errors import DatabaseAway, RecordRefused, SettingsError, StoreError
from headgate.store.changes import raise_version
from headgate.store.database import DATABASE_FILE, Database, place
from headgate.store.schema_accounts import keys, teams, versions
from tests.conftest import run, unused_port


def add_team(connection: Connection, name: str) -> str:
    connection.execute(insert(teams).values(id=name, name=name))
    return name


def names(database: Database) -> list[str]:
    with database.reading() as connection:
        return list(connection.scalars(select(teams.c.id).order_by(teams.c.id)))


def test_a_transaction_is_kept_whole_or_not_at_all(database: Database) -> None:
    with database.writing() as connection:
        add_team(connection, "first")

    class Broken(Exception):
        pass

    def broken_off() -> None:
        with database.writing() as connection:
            add_team(connection, "second")
            raise Broken

    with pytest.raises(Broken):
        broken_off()
    assert names(database) == ["first"]


def test_who_reads_changes_nothing(database: Database) -> None:
    with pytest.raises(StoreError), database.reading() as connection:
        add_team(connection, "quiet")
    assert names(database) == []


def test_who_reads_sees_one_state(database: Database, connect: Callable[[], Database]) -> None:
    other = connect()
    with database.reading() as connection:
        before = connection.execute(select(func.count()).select_from(teams)).scalar()
        with other.writing() as writer:
            add_team(writer, "meanwhile")
        assert connection.execute(select(func.count()).select_from(teams)).scalar() == before == 0
    assert names(database) == ["meanwhile"]


def test_a_key_without_its_team_is_refused(database: Database) -> None:
    with pytest.raises(RecordRefused) as caught, database.writing() as connection:
        connection.execute(insert(keys).values(id="key_1", name="hidden-name", team_id="nobody"))
    assert "hidden-name" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_writers_take_turns(database: Database, connect: Callable[[], Database]) -> None:
    with database.writing() as connection:
        connection.execute(insert(versions).values(topic="turns", value=0))

    def work(mine: Database) -> None:
        for _ in range(25):
            with mine.writing() as connection:
                row = select(versions.c.value).where(versions.c.topic == "turns").with_for_update()
                value = connection.execute(row).scalar_one()
                turn = update(versions).where(versions.c.topic == "turns")
                connection.execute(turn.values(value=value + 1))

    threads = [threading.Thread(target=work, args=(connect(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as connection:
        assert connection.execute(select(versions.c.value)).scalar_one() == 100


def test_the_loop_hands_work_to_threads(database: Database) -> None:
    async def main() -> None:
        assert await database.write(add_team, "async") == "async"
        assert await database.write(raise_version, "keys") == 1
        with pytest.raises(RecordRefused):
            await database.write(add_team, "async")
        found = await database.read(lambda connection: connection.execute(select(teams.c.id)).scalar())
        assert found == "async"

    run(main())


def test_the_file_is_private(tmp_path: Path) -> None:
    database = Database(place(tmp_path, None))
    with database.reading() as connection:
        connection.exec_driver_sql("SELECT 1")
    database.close()
    assert (tmp_path / DATABASE_FILE).stat().st_mode & 0o777 == 0o600


def test_a_server_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://somebody:hush-hush@127.0.0.1:{unused_port()}/ledger"
    database = Database(place(tmp_path, url))
    with pytest.raises(DatabaseAway) as caught, database.writing():
        pass
    assert "hush-hush" not in f"{caught.value} {database.place!r}"
    database.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("no url", "not a URL"),
        ("mysql://user:hush-hush@host/name", "expected postgresql://"),
        ("sqlite:////tmp/hush-hush.db", "expected postgresql://"),
        ("postgresql://user:hush-hush@host", "expected postgresql://"),
        ("postgresql://user:hush-hush@host/name?sslmode=maybe", "sslmode"),
        ("postgresql://user:hush-hush@host/name?sslmode=require&sslrootcert=/none", "sslrootcert"),
        ("postgresql://user:hush-hush@host/name?options=-csearch_path", "not understood"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_not_repeated(tmp_path: Path, url: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        place(tmp_path, url)
    assert says in str(caught.value)
    assert "hush-hush" not in str(caught.value)


@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-full"])
def test_ways_of_encryption_are_understood(tmp_path: Path, mode: str) -> None:
    assert place(tmp_path, f"postgresql://user@host/name?sslmode={mode}").url is not None
