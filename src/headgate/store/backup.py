"""A copy of what must not be lost, made while the gate runs: database, keys, and the journal that it lacks.

A restored copy is a data folder: the next start carries what its database has not. Restores nothing itself.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import msgspec

from headgate.core.errors import StoreError
from headgate.store.carriage import IDENTITY_FILE
from headgate.store.database import DATABASE_FILE, Place
from headgate.store.keys import MASTER_FILE
from headgate.store.reader import list_segments, segment_number
from headgate.store.seal import KEY_FILE
from headgate.store.segment import sync_folder

_FILES = (MASTER_FILE, KEY_FILE)


class Copied(msgspec.Struct, frozen=True):
    """What a backup holds."""

    folder: Path
    database_bytes: int
    """0 where the database is a server's: its own tools copy that."""
    segments: int
    """Journal files with records that the database has not yet, or may not have."""
    files: tuple[str, ...]


def back_up(where: Place, target: Path) -> Copied:
    """Copies into a folder that is not there yet; it appears when it is whole. Raises StoreError."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    if target.exists() and any(target.iterdir()):
        raise StoreError(f"{target} is not empty: a backup goes into a folder of its own")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700, parents=True)
        copied = _copy(where, unfinished)
        if target.exists():
            target.rmdir()
        unfinished.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise StoreError(f"cannot back up to {target}: {error.strerror}") from None
    except sqlite3.Error as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise StoreError(f"cannot copy the database: {error}") from None
    return msgspec.structs.replace(copied, folder=target)


def _copy(where: Place, into: Path) -> Copied:
    journal = where.folder / "journal"
    with ExitStack() as stack:
        # Held open from before the database is copied: what ages out meanwhile can still be read.
        segments = [
            (path, stack.enter_context(path.open("rb")))
            for path in (list_segments(journal) if journal.exists() else [])
        ]
        database_bytes = _copy_database(where.file, into) if where.file is not None else 0
        known = {path.name for path, _ in segments}
        if journal.exists():
            later = [path for path in list_segments(journal) if path.name not in known]
            segments += [(path, stack.enter_context(path.open("rb"))) for path in later]
        needed = _needed_from(into / DATABASE_FILE, journal) if database_bytes else 0
        kept = [(path, file) for path, file in segments if segment_number(path) >= needed]
        (into / "journal").mkdir(mode=0o700)
        for path, file in kept:
            _write(into / "journal" / path.name, file)
        files = []
        for path in (*(where.folder / name for name in _FILES), journal / IDENTITY_FILE):
            if path.exists():
                with path.open("rb") as file:
                    _write(into / path.relative_to(where.folder), file)
                files.append(path.name)
    sync_folder(into)
    return Copied(into, database_bytes, len(kept), tuple(files))


def _copy_database(file: Path, into: Path) -> int:
    """SQLite's own online backup: a state between two transactions, whoever writes meanwhile."""
    if not file.exists():
        return 0
    copy = into / DATABASE_FILE
    copy.touch(0o600)
    source, target = sqlite3.connect(file), sqlite3.connect(copy)
    try:
        # In one step, which reads one state: in several, each change by another process would begin it anew.
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, until it is used
        found = target.execute("PRAGMA quick_check").fetchone()[0]
        if found != "ok":
            raise StoreError(f"the copy of the database is damaged: {found}")
    finally:
        source.close()
        target.close()
    with copy.open("rb") as written:
        os.fsync(written.fileno())
    return copy.stat().st_size


def _needed_from(copy: Path, journal: Path) -> int:
    """The first segment with anything that a copied database has not."""
    identity = journal / IDENTITY_FILE
    name = identity.read_text("ascii").strip() if identity.exists() else ""
    connection = sqlite3.connect(copy)
    try:
        query = "SELECT min(segment, open_segment) FROM instances WHERE identity = ?"
        row = connection.execute(query, (name,)).fetchone()
    finally:
        connection.close()
    return int(row[0]) if row else 0


def _write(path: Path, source: BinaryIO) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(descriptor)
