"""Balances, redeem codes and budgets: a credit is booked once, a code is worth something once."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select

from headgate.core.errors import RecordMissing, RecordRefused
from headgate.core.limit import Budget
from headgate.store.balances import balance, debit_usage, list_postings, post
from headgate.store.budgets import drop_budget, list_budgets, set_budget
from headgate.store.database import Database
from headgate.store.records import Team
from headgate.store.redeem import list_codes, make_codes, redeem, withdraw
from headgate.store.schema_accounts import redeem_codes
from headgate.store.teams import create_team

NOW = 1_800_000_000_000
DOLLAR = 1_000_000_000


@pytest.fixture
def team(database: Database) -> str:
    with database.writing() as connection:
        return create_team(connection, Team(id="", name="payers", prepaid=True), now_ms=NOW).id


def test_a_balance_is_the_sum_of_its_postings(database: Database, team: str) -> None:
    with database.writing() as connection:
        assert balance(connection, team) == 0
        post(
            connection,
            team,
            "credit",
            10 * DOLLAR,
            now_ms=NOW,
            note="invoice 7",
            actor="ada",
            reference="inv-7",
        )
        post(connection, team, "debit", -DOLLAR, now_ms=NOW)
        debit_usage(connection, team, 5, 3 * DOLLAR, NOW)
        debit_usage(connection, team, 5, 1, NOW + 1)
        debit_usage(connection, team, 6, 2, NOW + 2)
        assert balance(connection, team) == 6 * DOLLAR - 3
        postings = list_postings(connection, team).items
    assert [one.amount_nanodollars for one in postings] == [-2, -3 * DOLLAR - 1, -DOLLAR, 10 * DOLLAR]
    assert [one.kind for one in postings] == ["usage", "usage", "debit", "credit"]


def test_a_reference_is_booked_once(database: Database, team: str) -> None:
    with database.writing() as connection:
        post(connection, team, "credit", 5, now_ms=NOW, reference="inv-7")
    with pytest.raises(RecordRefused), database.writing() as connection:
        post(connection, team, "credit", 5, now_ms=NOW, reference="inv-7")
    with pytest.raises(RecordRefused, match="no such team"), database.writing() as connection:
        post(connection, "team_none", "credit", 5, now_ms=NOW)
    with database.reading() as connection:
        assert balance(connection, team) == 5


def test_a_code_is_worth_something_once(database: Database, team: str) -> None:
    with database.writing() as connection:
        code, other = make_codes(connection, 7 * DOLLAR, count=2, note="spring", now_ms=NOW)
        assert code not in repr(connection.execute(select(redeem_codes)).all())
        as_typed = f" {code.lower().replace('-', '  ').replace('0', 'o').replace('1', 'l')}"
        assert redeem(connection, as_typed, team, now_ms=NOW).amount_nanodollars == 7 * DOLLAR
        for again in (code, "WRONG-WRONG-WRONG-WRONG-WRONG", ""):
            with pytest.raises(RecordRefused, match="not valid, or was used"):
                redeem(connection, again, team, now_ms=NOW)
        withdraw(connection, other)
        with pytest.raises(RecordRefused, match="not valid, or was used"):
            redeem(connection, other, team, now_ms=NOW)
        with pytest.raises(RecordMissing):
            withdraw(connection, code)
        assert balance(connection, team) == 7 * DOLLAR
        found = list_codes(connection).items
        assert [(one.redeemed_by, one.withdrawn) for one in found] == [(None, True), (team, False)]


def test_a_code_ends_when_it_says(database: Database, team: str) -> None:
    with database.writing() as connection:
        (code,) = make_codes(connection, 1, expires_ms=NOW, now_ms=NOW - 1)
        with pytest.raises(RecordRefused):
            redeem(connection, code, team, now_ms=NOW)
        assert redeem(connection, code, team, now_ms=NOW - 1).amount_nanodollars == 1


def test_of_many_that_bring_a_code_one_gets_it(
    database: Database, team: str, connect: Callable[[], Database]
) -> None:
    with database.writing() as connection:
        (code,) = make_codes(connection, 100, now_ms=NOW)
    refused: list[RecordRefused] = []

    def bring(mine: Database) -> None:
        try:
            with mine.writing() as connection:
                redeem(connection, code, team, now_ms=NOW)
        except RecordRefused as error:
            refused.append(error)

    threads = [threading.Thread(target=bring, args=(connect(),)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 4
    with database.reading() as connection:
        assert balance(connection, team) == 100


@pytest.mark.parametrize(("amount", "count"), [(0, 1), (-1, 1), (2**63, 1), (1, 0), (1, 10_001)])
def test_codes_that_cannot_be_are_refused(database: Database, amount: int, count: int) -> None:
    with pytest.raises(RecordRefused), database.writing() as connection:
        make_codes(connection, amount, count=count, now_ms=NOW)


def test_an_account_has_one_budget_of_a_kind(database: Database, team: str) -> None:
    account = f"team:{team}"
    with database.writing() as connection:
        set_budget(connection, account, Budget(amount_nanodollars=5, period="day"), now_ms=NOW)
        set_budget(
            connection,
            account,
            Budget(amount_nanodollars=9, period="day", warn_percent=(90, 50, 90)),
            now_ms=NOW,
        )
        set_budget(connection, account, Budget(amount_nanodollars=3, period="day", hard=False), now_ms=NOW)
        found = list_budgets(connection, account)
        assert [(one.budget.hard, one.budget.amount_nanodollars) for one in found] == [(False, 3), (True, 9)]
        assert found[1].budget.warn_percent == (50, 90)
        drop_budget(connection, account, "day", hard=True)
        with pytest.raises(RecordMissing):
            drop_budget(connection, account, "day", hard=True)
        assert list_budgets(connection) == found[:1]


@pytest.mark.parametrize(
    ("account", "budget", "error"),
    [
        ("team:none", Budget(amount_nanodollars=1), RecordMissing),
        ("key:none", Budget(amount_nanodollars=1), RecordMissing),
        ("nobody", Budget(amount_nanodollars=1), RecordRefused),
        ("TEAM", Budget(amount_nanodollars=-1), RecordRefused),
        ("TEAM", Budget(amount_nanodollars=2**63), RecordRefused),
        ("TEAM", Budget(amount_nanodollars=1, warn_percent=(0,)), RecordRefused),
        ("TEAM", Budget(amount_nanodollars=1, warn_percent=tuple(range(1, 12))), RecordRefused),
    ],
)
def test_a_budget_that_cannot_be_is_refused(
    database: Database, team: str, account: str, budget: Budget, error: type[Exception]
) -> None:
    with pytest.raises(error), database.writing() as connection:
        set_budget(connection, f"team:{team}" if account == "TEAM" else account, budget, now_ms=NOW)
