"""/admin/v1/teams: made, listed, changed, deleted."""

from __future__ import annotations

from litestar import Router, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy import Connection

from headgate.admin.caller import Caller
from headgate.admin.office import Office, given, now_ms
from headgate.core.limit import NO_LIMITS, Limits
from headgate.core.money import Ratio
from headgate.store import teams
from headgate.store.page import Page
from headgate.store.records import Team


class NewTeam(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A team to be made."""

    name: str
    disabled: bool = False
    prepaid: bool = False
    limits: Limits = NO_LIMITS
    model_limits: dict[str, Limits] = {}
    user_limits: Limits = NO_LIMITS
    multipliers: dict[str, Ratio] = {}
    metadata: dict[str, str] = {}


class TeamChanges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; the rest stays."""

    name: str | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    prepaid: bool | UnsetType = UNSET
    limits: Limits | UnsetType = UNSET
    model_limits: dict[str, Limits] | UnsetType = UNSET
    user_limits: Limits | UnsetType = UNSET
    multipliers: dict[str, Ratio] | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


def team_routes(office: Office) -> Router:
    """Everything below /teams."""

    @post("/", summary="Make a team")
    async def create_team(data: JSONBody[NewTeam], caller: NamedDependency[Caller]) -> Team:
        caller.may_change()
        team = Team(id="", **{name: getattr(data, name) for name in data.__struct_fields__})

        def work(connection: Connection) -> Team:
            return teams.create_team(connection, team, now_ms=now_ms())

        return await office.change(
            caller, "create", "team", work, object_id=lambda made: made.id, detail=data
        )

    @get("/", summary="List teams")
    async def list_teams(
        caller: NamedDependency[Caller],
        search: FromQuery[str] = "",
        limit: FromQuery[int] = 100,
        cursor: FromQuery[str | None] = None,
    ) -> Page[Team]:
        team_id = caller.own_team(None)
        if team_id is not None:
            return Page((await office.read(lambda connection: teams.get_team(connection, team_id)),), None)
        return await office.read(
            lambda connection: teams.list_teams(connection, search=search, limit=limit, cursor=cursor)
        )

    @get("/{team_id:str}", summary="Show a team")
    async def show_team(team_id: FromPath[str], caller: NamedDependency[Caller]) -> Team:
        caller.may_see(team_id)
        return await office.read(lambda connection: teams.get_team(connection, team_id))

    @patch("/{team_id:str}", summary="Change a team")
    async def change_team(
        team_id: FromPath[str], data: JSONBody[TeamChanges], caller: NamedDependency[Caller]
    ) -> Team:
        # A team's own admin would lift its own limits.
        caller.may_change()
        changes = given(data)

        def work(connection: Connection) -> Team:
            return teams.change_team(connection, team_id, **changes)

        return await office.change(caller, "change", "team", work, object_id=team_id, detail=changes)

    @delete("/{team_id:str}", summary="Delete a team")
    async def delete_team(team_id: FromPath[str], caller: NamedDependency[Caller]) -> None:
        caller.may_change()

        def work(connection: Connection) -> None:
            teams.delete_team(connection, team_id, now_ms=now_ms())

        await office.change(caller, "delete", "team", work, object_id=team_id)

    return Router(
        "/teams",
        route_handlers=[create_team, list_teams, show_team, change_team, delete_team],
        tags=["teams"],
    )
