"""What was spent: to the nano-dollar, whether it was carried already or only stands in the journal."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import insert

from headgate.store.balances import post
from headgate.store.calendar import HOUR_MS, Calendar
from headgate.store.database import Database
from headgate.store.follow import Position
from headgate.store.ledger import Ledger, find_mark
from headgate.store.page import to_columns
from headgate.store.records import Team
from headgate.store.schema_accounts import teams
from headgate.store.spending import Spending, spent
from tests.conftest import run
from tests.store.attempts import T0, carrier, carry_all, journal, some, write

DAY_MS = 24 * HOUR_MS


def test_what_was_spent_since_any_moment(database: Database) -> None:
    calendar, made = Calendar(ZoneInfo("Asia/Kolkata")), some(200)
    with database.writing() as connection:
        Ledger(calendar).enter(connection, find_mark(connection, "test"), made, Position(1, 0, 1), T0)
    month = calendar.next_month(calendar.buckets(T0).month_ms)
    day = calendar.buckets(T0 + 5 * DAY_MS).day_ms
    hour = calendar.buckets(T0 + 7 * DAY_MS).hour_ms
    moments = [
        0,
        T0,
        month,
        month - 1,
        month + 1,
        day,
        day + 1,
        hour,
        hour + 1,
        hour + 1234567,
        T0 + 99 * DAY_MS,
    ]
    with database.reading() as connection:
        for since_ms in moments:
            for of, name in (("key", "key_1"), ("team", "team_1"), ("key", "nobody")):
                expected = sum(
                    one.closed.charge.price_nanodollars
                    for one in made
                    if one.opened.at_ms >= since_ms
                    and name == (one.opened.key_id if of == "key" else one.opened.held.team_id)
                )
                assert spent(connection, f"{of}:{name}", since_ms, calendar) == expected, (since_ms, name)


def test_nothing_is_missing_between_journal_and_database(database: Database, tmp_path: Path) -> None:
    async def main() -> None:
        written = journal(tmp_path)
        one = carrier(database, tmp_path, batch_entries=7)
        spending = Spending(database, tmp_path / "journal", "test", Calendar())
        assert await spending.spent("key:key_a", 0) == 0
        total = other = 0
        for step in range(30):
            write(written, 5, price=step + 1)
            write(written, 2, key="key_b", price=1000)
            total, other = total + 5 * (step + 1), other + 2000
            if step % 3 == 0:
                one.carry()
            assert await spending.spent("key:key_a", 0) == total
            assert await spending.spent("key:key_b", 0) == other
            assert await spending.spent("team:team_a", 0) == total + other
        carry_all(one)
        assert await spending.spent("key:key_a", 0) == total
        assert await spending.spent("key:key_a", 2**50) == 0
        assert len(spending._tail._ended) == 0
        written.stop()

    run(main())


def test_a_balance_is_as_complete(database: Database, tmp_path: Path) -> None:
    async def main() -> None:
        with database.writing() as connection:
            paying = Team(id="team_a", name="a", prepaid=True)
            connection.execute(insert(teams), [to_columns(paying), to_columns(Team(id="team_b", name="b"))])
            post(connection, "team_a", "credit", 5000, now_ms=T0)
            post(connection, "team_b", "credit", 7, now_ms=T0)
        written = journal(tmp_path)
        one = carrier(database, tmp_path)
        spending = Spending(database, tmp_path / "journal", "test", Calendar())
        write(written, 3)
        assert await spending.balance("team_a") == 4700
        carry_all(one)
        assert await spending.balance("team_a") == 4700
        write(written, 1)
        assert await spending.balance("team_a") == 4600
        assert await spending.balance("team_b") == 7
        written.stop()

    run(main())
