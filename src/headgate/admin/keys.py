"""/admin/v1/keys: made, listed, changed, rotated, deleted. A secret is in one reply and nowhere else."""

from __future__ import annotations

from typing import Annotated

from litestar import Router, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType
from sqlalchemy import Connection

from headgate.admin.caller import CHANGES, READS, Caller
from headgate.admin.office import Office, given, now_ms
from headgate.core.errors import Forbidden
from headgate.core.limit import NO_LIMITS, Limits
from headgate.store import key_records
from headgate.store.page import Page
from headgate.store.records import Key

YEAR_MS = 365 * 86_400_000
Grace = Annotated[int, Meta(ge=0, le=YEAR_MS)]
Names = tuple[str, ...]


class NewKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be made."""

    name: str
    team_id: str | None = None
    owner: str = ""
    scopes: Names | None = None
    models: Names | None = None
    networks: Names | None = None
    disabled: bool = False
    expires_ms: int | None = None
    tags: Names = ()
    limits: Limits = NO_LIMITS
    model_limits: dict[str, Limits] = {}
    user_limits: Limits = NO_LIMITS
    metadata: dict[str, str] = {}
    secret: str | None = None
    """A key from elsewhere that goes on working; one is made where this is left out."""


class KeyChanges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; the rest stays."""

    name: str | UnsetType = UNSET
    team_id: str | UnsetType = UNSET
    owner: str | UnsetType = UNSET
    scopes: Names | UnsetType | None = UNSET
    models: Names | UnsetType | None = UNSET
    networks: Names | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET
    expires_ms: int | UnsetType | None = UNSET
    tags: Names | UnsetType = UNSET
    limits: Limits | UnsetType = UNSET
    model_limits: dict[str, Limits] | UnsetType = UNSET
    user_limits: Limits | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


class Rotation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new secret for a key."""

    grace_ms: Grace = 0
    """How long the old one still opens."""


class MadeKey(Struct, frozen=True, kw_only=True):
    """A key with its secret in clear: it is not kept, and cannot be shown again."""

    key: Key
    secret: str


def key_routes(office: Office) -> Router:
    """Everything below /keys."""
    return Router("/keys", route_handlers=[*_lists(office), *_changes(office)], tags=["keys"])


def _lists(office: Office) -> list[HTTPRouteHandler]:
    @post("/", summary="Make a key")
    async def create_key(data: JSONBody[NewKey], caller: NamedDependency[Caller]) -> MadeKey:
        caller.may_change(data.team_id)
        _refuse_promotion(caller, data.scopes)
        fields = {name: getattr(data, name) for name in data.__struct_fields__ if name != "secret"}
        key = Key(id="", **fields)

        def work(connection: Connection) -> tuple[Key, str]:
            return key_records.create_key(connection, key, now_ms=now_ms(), secret=data.secret)

        made, secret = await office.change(
            caller, "create", "key", work, object_id=lambda result: result[0].id, detail=fields
        )
        return MadeKey(key=made, secret=secret)

    @get("/", summary="List keys")
    async def list_keys(
        caller: NamedDependency[Caller],
        team: FromQuery[str | None] = None,
        search: FromQuery[str] = "",
        limit: FromQuery[int] = 100,
        cursor: FromQuery[str | None] = None,
    ) -> Page[Key]:
        team_id = caller.own_team(team)
        return await office.read(
            lambda connection: key_records.list_keys(
                connection, team_id=team_id, search=search, limit=limit, cursor=cursor
            )
        )

    @get("/{key_id:str}", summary="Show a key")
    async def show_key(key_id: FromPath[str], caller: NamedDependency[Caller]) -> Key:
        key = await office.read(lambda connection: key_records.get_key(connection, key_id))
        if caller.key_id != key.id:
            caller.may_see(key.team_id)
        return key

    return [create_key, list_keys, show_key]


def _changes(office: Office) -> list[HTTPRouteHandler]:
    @patch("/{key_id:str}", summary="Change a key")
    async def change_key(
        key_id: FromPath[str], data: JSONBody[KeyChanges], caller: NamedDependency[Caller]
    ) -> Key:
        changes = given(data)
        _refuse_promotion(caller, changes.get("scopes"))

        def work(connection: Connection) -> Key:
            caller.may_change(key_records.get_key(connection, key_id).team_id)
            return key_records.change_key(connection, key_id, **changes)

        return await office.change(caller, "change", "key", work, object_id=key_id, detail=changes)

    @post("/{key_id:str}/rotate", summary="Give a key a new secret")
    async def rotate_key(
        key_id: FromPath[str], data: JSONBody[Rotation], caller: NamedDependency[Caller]
    ) -> MadeKey:
        def work(connection: Connection) -> tuple[Key, str]:
            if caller.key_id != key_id:
                caller.may_change(key_records.get_key(connection, key_id).team_id)
            return key_records.rotate_key(connection, key_id, now_ms=now_ms(), grace_ms=data.grace_ms)

        key, secret = await office.change(caller, "rotate", "key", work, object_id=key_id, detail=data)
        return MadeKey(key=key, secret=secret)

    @delete("/{key_id:str}", summary="Delete a key")
    async def delete_key(key_id: FromPath[str], caller: NamedDependency[Caller]) -> None:
        def work(connection: Connection) -> None:
            caller.may_change(key_records.get_key(connection, key_id).team_id)
            key_records.delete_key(connection, key_id, now_ms=now_ms())

        await office.change(caller, "delete", "key", work, object_id=key_id)

    return [change_key, rotate_key, delete_key]


def _refuse_promotion(caller: Caller, scopes: Names | None) -> None:
    """Nobody but an operator makes keys that open this API."""
    if caller.role != "operator" and scopes is not None and {CHANGES, READS} & set(scopes):
        raise Forbidden("Your key may not give out access to this API.")
