"""/admin/v1/budgets, /balances, /codes and /prices: what may be spent, what was paid in, what things cost."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Router, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType
from sqlalchemy import Connection

from headgate.admin.caller import Caller
from headgate.admin.office import Office, given, now_ms
from headgate.core.errors import RecordRefused
from headgate.core.limit import Budget, Period
from headgate.core.money import LARGEST
from headgate.core.settings_prices import PriceTerms
from headgate.store import balances, budgets, key_records, prices, redeem
from headgate.store.page import Page
from headgate.store.records import AccountBudget, Posting, Price, RedeemCode

Amount = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]


class NewPosting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A credit (above zero) or a debit."""

    amount_nanodollars: Amount
    note: str = ""
    reference: str | None = None
    """Of an invoice, say: the same one is booked once."""


class Balance(Struct, frozen=True, kw_only=True):
    """What a team has, as far as its usage was carried into the books."""

    team_id: str
    balance_nanodollars: int


class NewCodes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Codes to be made."""

    amount_nanodollars: Amount
    count: int = 1
    note: str = ""
    expires_ms: int | None = None


class MadeCodes(Struct, frozen=True, kw_only=True):
    """Codes in clear: they are not kept, and cannot be shown again."""

    codes: tuple[str, ...]


class Redemption(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A code to be redeemed."""

    code: str


class NewPrice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A price to be added."""

    model: str
    upstream: str = ""
    valid_from_ms: int = 0
    valid_until_ms: int | None = None
    price: PriceTerms
    """In dollars as text, in the words of the configuration file's `[[price]]`."""


class PriceChanges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; the rest stays, and so does what was charged."""

    model: str | UnsetType = UNSET
    upstream: str | UnsetType = UNSET
    valid_from_ms: int | UnsetType = UNSET
    valid_until_ms: int | UnsetType | None = UNSET
    price: PriceTerms | UnsetType = UNSET


def money_routes(office: Office) -> list[Router]:
    """Everything about money."""
    return [_budget_routes(office), _balance_routes(office), _code_routes(office), _price_routes(office)]


def _budget_routes(office: Office) -> Router:
    def team_of(connection: Connection, account: str) -> str | None:
        kind, _, name = account.partition(":")
        if kind == "key":
            return key_records.get_key(connection, name).team_id
        return name if kind == "team" else None

    @get("/", summary="List budgets")
    async def list_budgets(
        caller: NamedDependency[Caller], account: FromQuery[str | None] = None
    ) -> list[AccountBudget]:
        def work(connection: Connection) -> list[AccountBudget]:
            caller.may_see(None if account is None else team_of(connection, account))
            return budgets.list_budgets(connection, account)

        return await office.read(work)

    @put("/{account:str}", summary="Set a budget")
    async def set_budget(
        account: FromPath[str], data: JSONBody[Budget], caller: NamedDependency[Caller]
    ) -> AccountBudget:
        def work(connection: Connection) -> AccountBudget:
            kind, _, name = account.partition(":")
            # A team's admin divides what the team has among its keys, and does not set what that is.
            caller.may_change(key_records.get_key(connection, name).team_id if kind == "key" else None)
            return budgets.set_budget(connection, account, data, now_ms=now_ms())

        return await office.change(caller, "set", "budget", work, object_id=account, detail=data)

    @delete("/{account:str}/{period:str}", summary="Drop a budget")
    async def drop_budget(
        account: FromPath[str],
        period: FromPath[Period],
        caller: NamedDependency[Caller],
        hard: FromQuery[bool] = True,
    ) -> None:
        def work(connection: Connection) -> None:
            kind, _, name = account.partition(":")
            caller.may_change(key_records.get_key(connection, name).team_id if kind == "key" else None)
            budgets.drop_budget(connection, account, period, hard=hard)

        detail = {"period": period, "hard": hard}
        await office.change(caller, "drop", "budget", work, object_id=account, detail=detail)

    return Router("/budgets", route_handlers=[list_budgets, set_budget, drop_budget], tags=["budgets"])


def _balance_routes(office: Office) -> Router:
    @get("/{team_id:str}", summary="Show a team's balance")
    async def show_balance(team_id: FromPath[str], caller: NamedDependency[Caller]) -> Balance:
        caller.may_see(team_id)
        amount = await office.read(lambda connection: balances.balance(connection, team_id))
        return Balance(team_id=team_id, balance_nanodollars=amount)

    @get("/{team_id:str}/postings", summary="List what was paid in and out")
    async def list_postings(
        team_id: FromPath[str],
        caller: NamedDependency[Caller],
        limit: FromQuery[int] = 100,
        cursor: FromQuery[str | None] = None,
    ) -> Page[Posting]:
        caller.may_see(team_id)
        return await office.read(
            lambda connection: balances.list_postings(connection, team_id, limit=limit, cursor=cursor)
        )

    @post("/{team_id:str}/postings", summary="Book a credit or a debit")
    async def add_posting(
        team_id: FromPath[str], data: JSONBody[NewPosting], caller: NamedDependency[Caller]
    ) -> Posting:
        caller.may_change()
        if data.amount_nanodollars == 0:
            raise RecordRefused("amount_nanodollars: expected another number than 0")

        def work(connection: Connection) -> Posting:
            return balances.post(
                connection,
                team_id,
                "credit" if data.amount_nanodollars > 0 else "debit",
                data.amount_nanodollars,
                now_ms=now_ms(),
                note=data.note,
                actor=caller.name,
                reference=data.reference,
            )

        return await office.change(caller, "post", "balance", work, object_id=team_id, detail=data)

    @post("/{team_id:str}/redeem", summary="Redeem a code")
    async def redeem_code(
        team_id: FromPath[str], data: JSONBody[Redemption], caller: NamedDependency[Caller]
    ) -> Posting:
        caller.may_change(team_id)

        def work(connection: Connection) -> Posting:
            return redeem.redeem(connection, data.code, team_id, now_ms=now_ms(), actor=caller.name)

        return await office.change(caller, "redeem", "balance", work, object_id=team_id)

    handlers = [show_balance, list_postings, add_posting, redeem_code]
    return Router("/balances", route_handlers=handlers, tags=["balances"])


def _code_routes(office: Office) -> Router:
    @post("/", summary="Make redeem codes")
    async def make_codes(data: JSONBody[NewCodes], caller: NamedDependency[Caller]) -> MadeCodes:
        caller.may_change()

        def work(connection: Connection) -> list[str]:
            return redeem.make_codes(
                connection,
                data.amount_nanodollars,
                count=data.count,
                note=data.note,
                expires_ms=data.expires_ms,
                now_ms=now_ms(),
            )

        return MadeCodes(codes=tuple(await office.change(caller, "create", "code", work, detail=data)))

    @get("/", summary="List redeem codes")
    async def list_codes(
        caller: NamedDependency[Caller], limit: FromQuery[int] = 100, cursor: FromQuery[str | None] = None
    ) -> Page[RedeemCode]:
        caller.may_see()
        return await office.read(lambda connection: redeem.list_codes(connection, limit=limit, cursor=cursor))

    return Router("/codes", route_handlers=[make_codes, list_codes], tags=["balances"])


def _price_routes(office: Office) -> Router:
    @get("/", summary="List prices that override what comes along")
    async def list_prices(caller: NamedDependency[Caller]) -> list[Price]:
        caller.may_see()
        return await office.read(prices.every_price)

    @post("/", summary="Add a price")
    async def add_price(data: JSONBody[NewPrice], caller: NamedDependency[Caller]) -> Price:
        caller.may_change()
        price = Price(
            id="",
            model=data.model,
            upstream=data.upstream,
            valid_from_ms=data.valid_from_ms,
            valid_until_ms=data.valid_until_ms,
            price=_plain(data.price),
        )

        def work(connection: Connection) -> Price:
            return prices.create_price(connection, price, now_ms=now_ms())

        return await office.change(
            caller, "create", "price", work, object_id=lambda made: made.id, detail=data
        )

    @patch("/{price_id:str}", summary="Change a price")
    async def change_price(
        price_id: FromPath[str], data: JSONBody[PriceChanges], caller: NamedDependency[Caller]
    ) -> Price:
        caller.may_change()
        changes = given(data)
        if isinstance(data.price, PriceTerms):
            changes["price"] = _plain(data.price)

        def work(connection: Connection) -> Price:
            return prices.change_price(connection, price_id, **changes)

        return await office.change(caller, "change", "price", work, object_id=price_id, detail=changes)

    @delete("/{price_id:str}", summary="Delete a price")
    async def delete_price(price_id: FromPath[str], caller: NamedDependency[Caller]) -> None:
        caller.may_change()

        def work(connection: Connection) -> None:
            prices.delete_price(connection, price_id)

        await office.change(caller, "delete", "price", work, object_id=price_id)

    handlers = [list_prices, add_price, change_price, delete_price]
    return Router("/prices", route_handlers=handlers, tags=["prices"])


def _plain(terms: PriceTerms) -> dict[str, Any]:
    """The terms as they are kept: what was not said is left out."""
    told: dict[str, Any] = msgspec.to_builtins(terms)
    return {name: value for name, value in told.items() if value not in (None, [], {})}
