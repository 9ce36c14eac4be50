"""Databases for the store's tests: each test runs on SQLite and on PostgreSQL, on a database of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pg8000.native
import pytest

from headgate.store.database import DATABASE_FILE, Database, Place, place
from headgate.store.migrate import migrate
from tests.services import PostgreSQL, postgresql

_numbers = count(1)
_TEMPLATE = "migrated"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """A PostgreSQL of this session's own, for tests that leave it running."""
    with postgresql(tmp_path_factory.mktemp("postgresql")) as server:
        yield server


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database that is up to date, to be copied: making one takes longer than most tests."""
    folder = tmp_path_factory.mktemp("migrated")
    _migrate(place(folder, None))
    return folder / DATABASE_FILE


@pytest.fixture(scope="session")
def migrated_postgres(postgres: PostgreSQL) -> PostgreSQL:
    """The same for PostgreSQL: its database `migrated`."""
    _migrate(place(Path(), postgres.create(_TEMPLATE)))
    return postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where an empty database is, once of each kind."""
    if request.param == "sqlite":
        return place(tmp_path, None)
    server: PostgreSQL = request.getfixturevalue("postgres")
    return place(tmp_path, server.create(f"empty_{next(_numbers)}"))


@pytest.fixture(params=["sqlite", "postgresql"])
def ready(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where a database is that is up to date and has nothing in it, once of each kind."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated"), tmp_path / DATABASE_FILE)
        return place(tmp_path, None)
    server: PostgreSQL = request.getfixturevalue("migrated_postgres")
    name = f"test_{next(_numbers)}"
    connection = pg8000.native.Connection("headgate", "127.0.0.1", port=server.port, database="postgres")
    connection.run(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    connection.close()
    return place(tmp_path, server.database_url(name))


@pytest.fixture
def connect(ready: Place) -> Iterator[Callable[[], Database]]:
    """`connect()` is another way to the same database, as another process would have it."""
    yield from _connecting(ready)


@pytest.fixture
def connect_empty(empty: Place) -> Iterator[Callable[[], Database]]:
    """The same for an empty one."""
    yield from _connecting(empty)


@pytest.fixture
def database(connect: Callable[[], Database]) -> Database:
    """A database that is up to date and has nothing in it."""
    return connect()


def _connecting(where: Place) -> Iterator[Callable[[], Database]]:
    opened: list[Database] = []

    def make() -> Database:
        opened.append(Database(where))
        return opened[-1]

    yield make
    for database in opened:
        database.close()


def _migrate(where: Place) -> None:
    database = Database(where)
    migrate(database)
    database.close()
