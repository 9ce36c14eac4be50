"""Brings the database to the schema that this version knows. Knows Alembic; the steps are in `migrations`."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from headgate.core.errors import StoreError
from headgate.store.database import Database

HEAD = "0002"
"""The newest step in `migrations/versions`; a test compares. Here, so that a start need not load Alembic."""
_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x68656164_67617465
"""PostgreSQL's advisory lock while migrating, `headgate` in ASCII: of several that start one migrates."""

_log = logging.getLogger(__name__)


def migrate(database: Database) -> str | None:
    """Migrates up to `HEAD`; returns the revision before, None for an empty database. Raises StoreError.

    Several may call it at once: SQLite's writers take turns, and PostgreSQL has a lock for it.
    """
    with database.reading() as connection:
        before = revision(connection)
    if before != HEAD:
        with database.writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            before = revision(connection)
            if before != HEAD:
                if before is not None:
                    _log.info("migrating the database from schema %s to %s", before, HEAD)
                upgrade(connection, HEAD)
    return before


def revision(connection: Connection) -> str | None:
    """The schema's revision; None where there is none yet. Raises StoreError for one of a later version."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is not None and found > HEAD:
        raise StoreError(
            f"the database was used by a later version of Headgate (schema {found}, this one knows {HEAD}): "
            "use that version, or restore a backup"
        )
    return str(found) if found else None


def upgrade(connection: Connection, target: str) -> None:
    """Runs the steps up to a revision, all in the caller's transaction."""
    # It tells the log of each of its own parts; that it migrates is said here.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from alembic import command  # noqa: PLC0415 - a start whose database is up to date does without
    from alembic.config import Config  # noqa: PLC0415

    configuration = Config()
    configuration.set_main_option("script_location", str(_FOLDER))
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, target)
