"""`headgate teams`: keys that share limits, budgets and a balance."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from headgate.cli.books import books, changing, dollars, now_ms, show, told
from headgate.cli.options import data_option

COLUMNS = ("id", "name", "prepaid", "disabled", "limits", "balance")


@click.group("teams", no_args_is_help=False)
def command() -> None:
    """Teams: keys that share limits, budgets and a balance."""


@command.command("create")
@click.argument("name")
@click.option("--prepaid", is_flag=True, help="It spends its balance, and nothing beyond.")
@click.option("--requests-per-minute", type=click.IntRange(0), help="A limit for all of its keys together.")
@click.option("--tokens-per-minute", type=click.IntRange(0), help="The same of tokens.")
@data_option
def create(
    name: str,
    prepaid: bool,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    data: Path | None,
) -> None:
    """Make a team, and tell its id."""
    from headgate.core.limit import Limits
    from headgate.store import teams
    from headgate.store.records import Team

    limits = Limits(requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute)
    with changing(data, "create", "team") as change:
        team = Team(id="", name=name, prepaid=prepaid, limits=limits)
        made = teams.create_team(change.connection, team, now_ms=now_ms())
        change.object_id, change.detail = made.id, {"name": name}
    click.echo(made.id)


@command.command("list")
@told
def list_(data: Path | None, as_json: bool) -> None:
    """List teams with their balances."""
    import msgspec

    from headgate.store import balances, teams

    found: list[Any] = []
    cursor: str | None = None
    with books(data) as database, database.reading() as connection:
        while True:
            page = teams.list_teams(connection, limit=1000, cursor=cursor)
            for team in page.items:
                balance = dollars(balances.balance(connection, team.id))
                found.append(msgspec.to_builtins(team) | {"balance": balance})
            cursor = page.next_cursor
            if cursor is None:
                break
    show(found, COLUMNS, as_json=as_json)


@command.command("budget")
@click.argument("team_id")
@click.argument("amount")
@click.option(
    "--period", type=click.Choice(("once", "day", "week", "month")), default="month", help="Of the calendar."
)
@click.option("--soft", is_flag=True, help="Only tell when it is passed.")
@data_option
def budget(team_id: str, amount: str, period: Any, soft: bool, data: Path | None) -> None:
    """Let a team spend AMOUNT dollars in each period."""
    from headgate.core.limit import Budget
    from headgate.core.money import parse_dollars
    from headgate.store import budgets

    with changing(data, "set", "budget", f"team:{team_id}") as change:
        given = Budget(amount_nanodollars=parse_dollars(amount), period=period, hard=not soft)
        budgets.set_budget(change.connection, f"team:{team_id}", given, now_ms=now_ms())
        change.detail = {"amount": amount, "period": period, "hard": not soft}


@command.command("credit")
@click.argument("team_id")
@click.argument("amount")
@click.option("--note", help="What for.")
@data_option
def credit(team_id: str, amount: str, note: str | None, data: Path | None) -> None:
    """Book AMOUNT dollars into a team's balance; a negative one books out."""
    from headgate.core.money import parse_dollars
    from headgate.store import balances

    nanodollars = parse_dollars(amount)
    with changing(data, "post", "balance", team_id) as change:
        kind: Literal["credit", "debit"] = "credit" if nanodollars > 0 else "debit"
        balances.post(change.connection, team_id, kind, nanodollars, now_ms=now_ms(), note=note or "")
        change.detail = {"amount": amount, "note": note or ""}


@command.command("delete")
@click.argument("team_id")
@data_option
def delete(team_id: str, data: Path | None) -> None:
    """Close a team for good: its keys stop opening, what they used stays in the books."""
    from headgate.store import teams

    with changing(data, "delete", "team", team_id) as change:
        teams.delete_team(change.connection, team_id, now_ms=now_ms())
