"""Teams: made, changed, listed, deleted. A deleted team stays for its history; none of its keys opens."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from headgate.core.errors import RecordMissing, RecordRefused
from headgate.store import rules
from headgate.store.changes import KEYS, raise_version
from headgate.store.identity import new_id
from headgate.store.page import Page, like, page_of, to_columns, to_record
from headgate.store.records import Team
from headgate.store.schema_accounts import teams


def create_team(connection: Connection, team: Team, *, now_ms: int) -> Team:
    """Makes a team; its `id` and times are made here whatever they were. Raises RecordRefused."""
    made = _checked(msgspec.structs.replace(team, id=new_id("team"), created_ms=now_ms, deleted_ms=None))
    _refuse_taken(connection, made)
    version = raise_version(connection, KEYS)
    connection.execute(insert(teams).values(**to_columns(made), changed=version))
    return made


def change_team(connection: Connection, team_id: str, /, **changes: Any) -> Team:
    """Replaces fields of a team, by the names that `Team` has; raises RecordMissing, RecordRefused."""
    before = get_team(connection, team_id)
    if {"id", "created_ms", "deleted_ms"} & changes.keys():
        raise RecordRefused("id and times of a team cannot be changed")
    after = _checked(msgspec.structs.replace(before, **changes))
    if after.name != before.name:
        _refuse_taken(connection, after)
    version = raise_version(connection, KEYS)
    connection.execute(
        update(teams).where(teams.c.id == team_id).values(**to_columns(after), changed=version)
    )
    return after


def delete_team(connection: Connection, team_id: str, *, now_ms: int) -> None:
    """Closes a team for good: its keys stop opening, what it used stays. Raises RecordMissing."""
    get_team(connection, team_id)
    version = raise_version(connection, KEYS)
    connection.execute(update(teams).where(teams.c.id == team_id).values(deleted_ms=now_ms, changed=version))


def get_team(connection: Connection, team_id: str) -> Team:
    """A team that was not deleted; raises RecordMissing."""
    query = select(teams).where(teams.c.id == team_id, teams.c.deleted_ms.is_(None))
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise RecordMissing("there is no such team")
    return to_record(Team, row)


def list_teams(
    connection: Connection, *, search: str = "", limit: int = 100, cursor: str | None = None
) -> Page[Team]:
    """Teams in the order of their ids, which is that of their making; `search` is looked for in names."""
    query = select(teams).where(teams.c.deleted_ms.is_(None))
    if search:
        query = query.where(teams.c.name.ilike(like(search), escape="\\"))
    return page_of(connection, query, [teams.c.id], Team, limit=limit, cursor=cursor)


def _checked(team: Team) -> Team:
    return msgspec.structs.replace(
        team,
        name=rules.name(team.name),
        metadata=rules.metadata(team.metadata),
        model_limits=dict(rules.patterned(team.model_limits, "model_limits")),
        multipliers=dict(rules.patterned(team.multipliers, "multipliers")),
    )


def _refuse_taken(connection: Connection, team: Team) -> None:
    query = select(teams.c.id).where(
        teams.c.name == team.name, teams.c.deleted_ms.is_(None), teams.c.id != team.id
    )
    if connection.execute(query).first() is not None:
        raise RecordRefused("name: another team has it")
