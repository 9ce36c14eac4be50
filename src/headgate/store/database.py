"""The database: SQLite in the data folder, or PostgreSQL by URL. Opens it, and runs work in transactions.

Work is a function whose first argument is a connection; it runs in a thread of its own, never on the loop.
Must not know any table.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy import exc as database_errors

from headgate.core.errors import DatabaseAway, RecordRefused, SettingsError, StoreError
from headgate.core.secret import Secret

DATABASE_FILE = "headgate.db"
URL_VARIABLE = "HEADGATE_DATABASE_URL"

_BUSY_TIMEOUT_MS = 10_000
"""Writers take turns by a lock of ours; this is for a stranger's `sqlite3` shell that holds the file."""
_CACHE_KIB = 32 * 1024
"""Pages that are kept in memory for each connection: the sums of some ten thousand keys."""
_CHECKPOINT_PAGES = 8_000
"""32 MiB of write-ahead log before it is folded in: fewer, longer writes than SQLite's own 4 MiB."""
_ANSWER_TIMEOUT_S = 60.0
"""A PostgreSQL that says nothing for longer is taken for dead; no statement of ours takes seconds."""
_CONNECT_TIMEOUT_S = 10
_REFUSALS = ("22", "23")
"""SQLSTATE classes of PostgreSQL: a value that cannot be, a constraint that it breaks."""
_READERS = 2
"""Threads that read for the admin API; a report is bound by the disk and one core."""

Given = ParamSpec("Given")
Result = TypeVar("Result")
Work = Callable[Concatenate[Connection, Given], Result]


class Place(msgspec.Struct, frozen=True):
    """Where the database is."""

    folder: Path
    url: Secret | None = None
    """None means SQLite in the folder."""

    @property
    def file(self) -> Path | None:
        """SQLite's file; None for a server."""
        return self.folder / DATABASE_FILE if self.url is None else None


def place(folder: Path, url: str | None) -> Place:
    """Where `HEADGATE_DATABASE_URL` says, or SQLite in the data folder; raises SettingsError."""
    if not url:
        return Place(folder)
    try:
        parsed = make_url(url)
    except database_errors.ArgumentError:
        raise SettingsError(
            f"{URL_VARIABLE} is not a URL such as postgresql://user:password@host/name"
        ) from None
    if parsed.get_backend_name() != "postgresql" or not parsed.database:
        raise SettingsError(
            f"{URL_VARIABLE}: expected postgresql://user:password@host/name; SQLite needs no URL, it "
            "is kept in the data folder"
        )
    _server_engine(parsed).dispose()  # says now what is wrong with the rest
    return Place(folder, Secret(url, origin=f"env:{URL_VARIABLE}"))


class Database:
    """One process's way to the database."""

    def __init__(self, where: Place) -> None:
        self.place = where
        self._lock_path = None if where.url else where.folder / f"{DATABASE_FILE}.lock"
        if where.url is not None:
            self._writer = self._reader = _server_engine(make_url(where.url.reveal()))
        else:
            self._writer = _file_engine(where.folder / DATABASE_FILE, "BEGIN IMMEDIATE", read_only=False)
            self._reader = _file_engine(where.folder / DATABASE_FILE, "BEGIN", read_only=True)
        self._write_thread = ThreadPoolExecutor(1, "headgate-database")
        self._read_threads = ThreadPoolExecutor(_READERS, "headgate-reports")

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._writer.dialect.name

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, rolled back by an exception. Raises StoreError."""
        with self._turn(), _mapped(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of everything and changes nothing. Raises StoreError."""
        with _mapped(), self._reader.connect() as connection:
            if self.dialect == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield connection

    async def write(
        self, work: Work[Given, Result], /, *arguments: Given.args, **named: Given.kwargs
    ) -> Result:
        """Runs work in a transaction that writes, in the database's own thread."""

        def run() -> Result:
            with self.writing() as connection:
                return work(connection, *arguments, **named)

        return await asyncio.get_running_loop().run_in_executor(self._write_thread, run)

    async def read(
        self, work: Work[Given, Result], /, *arguments: Given.args, **named: Given.kwargs
    ) -> Result:
        """Runs work that only reads, in one of the threads for it."""

        def run() -> Result:
            with self.reading() as connection:
                return work(connection, *arguments, **named)

        return await asyncio.get_running_loop().run_in_executor(self._read_threads, run)

    def close(self) -> None:
        """Ends its threads and connections; work under way is finished first."""
        self._write_thread.shutdown()
        self._read_threads.shutdown()
        self.forget()

    def forget(self) -> None:
        """Closes idle connections: after an error, and in a process that was forked."""
        self._writer.dispose()
        self._reader.dispose()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        # SQLite's own waiting is a lottery between sleepers: a busy writer can starve the others for seconds.
        if self._lock_path is None:
            yield
            return
        try:
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreError(f"cannot lock the database {self._lock_path}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@contextmanager
def _mapped() -> Iterator[None]:
    """Foreign exceptions in our error tree; never a statement's values, never the URL."""
    try:
        yield
    except database_errors.DBAPIError as error:
        if isinstance(error, database_errors.IntegrityError) or _state(error)[:2] in _REFUSALS:
            raise RecordRefused(f"the database refuses the record: {_reason(error)}") from None
        raise DatabaseAway(f"the database cannot be used: {_reason(error)}") from None
    except OverflowError:
        raise RecordRefused("the database refuses the record: a number is too large") from None
    except (database_errors.SQLAlchemyError, OSError, EOFError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise StoreError(f"cannot use {error.filename}: {error.strerror}") from None
        raise DatabaseAway(f"the database cannot be used: {type(error).__name__}") from None


def _state(error: database_errors.DBAPIError) -> str:
    """PostgreSQL's SQLSTATE; empty where there is none."""
    told = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return str(told.get("C", "")) if isinstance(told, dict) else ""


def _reason(error: database_errors.DBAPIError) -> str:
    """What the driver says, without what was to be written."""
    told = error.orig.args[0] if error.orig is not None and error.orig.args else type(error.orig).__name__
    if isinstance(told, dict):  # pg8000 hands on PostgreSQL's fields; M is the message, D would quote values
        told = told.get("M", "")
    return str(told).splitlines()[0][:300] if told else type(error.orig).__name__


def _file_engine(path: Path, begin: str, *, read_only: bool) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}", hide_parameters=True, connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000}
    )

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        pragmas = [
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            f"cache_size = -{_CACHE_KIB}",
            f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
            "temp_store = MEMORY",
        ]
        if read_only:
            pragmas.append("query_only = ON")
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _server_engine(url: URL) -> Engine:
    """An engine for PostgreSQL; `sslmode` and `sslrootcert` mean what they mean to every other client."""
    query = dict(url.query)
    arguments: dict[str, Any] = {"timeout": _ANSWER_TIMEOUT_S, "application_name": "headgate"}
    mode = str(query.pop("sslmode", "prefer"))
    authority = query.pop("sslrootcert", None)
    if mode in ("require", "verify-ca", "verify-full"):
        try:
            context = ssl.create_default_context(cafile=str(authority) if authority else None)
        except OSError:
            raise SettingsError(f"{URL_VARIABLE}: sslrootcert is not a readable PEM file") from None
        context.check_hostname = mode == "verify-full"
        if mode == "require" and not authority:
            context.verify_mode = ssl.CERT_NONE
        arguments["ssl_context"] = context
    elif mode not in ("disable", "allow", "prefer"):
        raise SettingsError(f"{URL_VARIABLE}: sslmode is not one that is known")
    if query:
        raise SettingsError(
            f"{URL_VARIABLE}: parameters other than sslmode and sslrootcert are not understood"
        )
    try:
        engine = create_engine(
            url.set(drivername="postgresql+pg8000", query={}),
            hide_parameters=True,
            pool_size=_READERS + 2,
            pool_pre_ping=True,
            connect_args=arguments,
        )
    except ModuleNotFoundError:
        raise SettingsError(f"{URL_VARIABLE} needs a driver: pip install 'headgate[postgres]'") from None

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        # Compiling a report of a tenth of a second takes longer than it saves.
        cursor.execute("SET jit = off")
        cursor.execute("SET work_mem = '32MB'")
        connection.commit()
        cursor.close()

    return engine
