"""Databases for the store's tests: every one of them runs on SQLite and on PostgreSQL, on an empty one of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from headgate.store.database import Database, Place, place
from headgate.store.migrate import migrate
from tests.services import PostgreSQL, postgresql

_numbers = count(1)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """A PostgreSQL of this session's own, for tests that leave it running."""
    with postgresql(tmp_path_factory.mktemp("postgresql")) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where an empty database is, once of each kind."""
    if request.param == "sqlite":
        return place(tmp_path, None)
    server: PostgreSQL = request.getfixturevalue("postgres")
    return place(tmp_path, server.create(f"test_{next(_numbers)}"))


@pytest.fixture
def connect(empty: Place) -> Iterator[Callable[[], Database]]:
    """`connect()` is another way to the same database, as another process would have it."""
    opened: list[Database] = []

    def make() -> Database:
        opened.append(Database(empty))
        return opened[-1]

    yield make
    for database in opened:
        database.close()


@pytest.fixture
def database(connect: Callable[[], Database]) -> Database:
    """A database that is up to date and has nothing in it."""
    found = connect()
    migrate(found)
    return found
