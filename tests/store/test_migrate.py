"""Schemas: the steps make what the code expects, and what stood in the first one is there after the last."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from headgate.core.errors import StoreError
from headgate.store import migrate as module
from headgate.store.database import Database
from headgate.store.key_records import get_key
from headgate.store.migrate import HEAD, migrate, revision, upgrade
from headgate.store.schema import METADATA
from headgate.store.teams import get_team

FIRST = "0001"


def steps() -> list[str]:
    """Every step there is, the first one first."""
    configuration = Config()
    configuration.set_main_option("script_location", str(module._FOLDER))
    found = ScriptDirectory.from_config(configuration).walk_revisions()
    return [step.revision for step in found][::-1]


def test_the_newest_step_is_known_without_looking() -> None:
    assert steps()[0] == FIRST
    assert steps()[-1] == HEAD


def test_the_steps_make_what_the_code_expects(database: Database) -> None:
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
        made = inspect(connection)
        for table in METADATA.sorted_tables:
            columns = {column["name"]: column for column in made.get_columns(table.name)}
            assert columns.keys() == set(table.columns.keys())
            nullable = {name: column["nullable"] for name, column in columns.items()}
            assert nullable == {column.name: column.nullable for column in table.columns}
            assert made.get_pk_constraint(table.name)["constrained_columns"] == [
                column.name for column in table.primary_key.columns
            ]


def test_a_database_is_migrated_once(connect_empty: Callable[[], Database]) -> None:
    database = connect_empty()
    assert migrate(database) is None
    assert migrate(database) == HEAD


def test_what_the_first_schema_held_is_there_after_the_last(connect_empty: Callable[[], Database]) -> None:
    database = connect_empty()
    with database.writing() as connection:
        upgrade(connection, FIRST)
    with database.writing() as connection:
        connection.execute(
            text(
                "INSERT INTO teams (id, name, limits, created_ms) "
                "VALUES ('team_old', 'Röhrbach', '{\"requests_per_minute\": 7}', 12)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO keys (id, name, team_id, tags, models, created_ms) "
                "VALUES ('key_old', 'old', 'team_old', '[\"blue\"]', '[\"gpt-*\"]', 13)"
            )
        )
    assert migrate(database) == FIRST
    with database.reading() as connection:
        assert revision(connection) == HEAD
        team, key = get_team(connection, "team_old"), get_key(connection, "key_old")
    assert (team.name, team.limits.requests_per_minute, team.created_ms) == ("Röhrbach", 7, 12)
    assert (key.team_id, key.tags, key.models, key.networks) == ("team_old", ("blue",), ("gpt-*",), None)


@pytest.mark.parametrize("step", steps())
def test_every_step_leads_to_the_last(connect_empty: Callable[[], Database], step: str) -> None:
    database = connect_empty()
    with database.writing() as connection:
        upgrade(connection, step)
    assert migrate(database) == step
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_several_that_start_at_once_migrate_once(connect_empty: Callable[[], Database]) -> None:
    before: list[str | None] = []
    databases = [connect_empty() for _ in range(4)]
    threads = [threading.Thread(target=lambda mine=mine: before.append(migrate(mine))) for mine in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(before, key=str) == [HEAD, HEAD, HEAD, None]


def test_a_later_version_s_database_is_left_alone(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"later version of Headgate \(schema 9999"):
        migrate(database)


def test_a_step_that_fails_leaves_nothing_behind(connect_empty: Callable[[], Database]) -> None:
    database = connect_empty()

    class Power(Exception):
        pass

    def broken_off() -> None:
        with database.writing() as connection:
            upgrade(connection, HEAD)
            raise Power

    with pytest.raises(Power):
        broken_off()
    with database.reading() as connection:
        assert inspect(connection).get_table_names() == []
