"""The ledger's transaction: entries and every sum of them agree, and nothing is entered twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select

from headgate.core.ports import Outcome
from headgate.core.usage import Source, Usage
from headgate.store.balances import balance, list_postings
from headgate.store.bulk import LARGEST
from headgate.store.calendar import HOUR_MS, Calendar
from headgate.store.database import Database
from headgate.store.follow import START, Ended, Position
from headgate.store.key_records import change_key
from headgate.store.ledger import Ledger, Mark, Outdated, Repeated, find_mark, read_mark
from headgate.store.page import to_columns
from headgate.store.records import Key, Team
from headgate.store.schema_accounts import keys, teams
from headgate.store.schema_ledger import entries, rollup_days, rollup_hours, rollup_months, terms
from headgate.store.teams import change_team
from tests.store.attempts import T0, attempt, carried, expect_sums, some

DAY_MS = 24 * HOUR_MS


class House:
    """A ledger on a database, and how far it is."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ledger = Ledger(Calendar())
        with database.writing() as connection:
            self.mark: Mark = find_mark(connection, "test")

    def enter(self, ended: list[Ended], *, look: bool = False, oldest_ms: int = 0) -> None:
        """Enters them in a transaction of their own."""
        position = Position(1, 0, self.mark.batches + 1)
        try:
            with self.database.writing() as connection:
                self.mark = self.ledger.enter(
                    connection, self.mark, ended, position, T0, look=look, oldest_ms=oldest_ms
                )
        except BaseException:
            self.ledger.forget()
            raise


@pytest.fixture
def house(database: Database) -> House:
    return House(database)


def test_what_ended_is_entered_as_it_was(house: House) -> None:
    usage = Usage(Source.PARTIAL, 10, 4, 6, 2)
    house.enter([attempt(7, user="ann", outcome=Outcome.CLIENT_GONE, status=206, usage=usage, price=2**40)])
    with house.database.reading() as connection:
        (row,) = connection.execute(select(entries)).mappings()
        names = dict(connection.execute(select(terms.c.number, terms.c.text)).all())
    assert {name: names[row[name]] for name in ("key", "team", "model", "target", "endpoint")} == {
        "key": "key_a",
        "team": "team_a",
        "model": "gpt",
        "target": "far/gpt-4",
        "endpoint": "chat.completions",
    }
    told = {
        name: row[name]
        for name in row
        if row[name] != 0 and name not in ("key", "team", "model", "target", "endpoint")
    }
    assert told == {
        "started_ms": T0,
        "instance": 1,
        "attempt": 7,
        "ended_ms": T0 + 500,
        "request_id": "req_7",
        "user": "ann",
        "outcome": 4,
        "status": 206,
        "source": 3,
        "input_tokens": 10,
        "cached_input_tokens": 4,
        "output_tokens": 6,
        "reasoning_tokens": 2,
        "cost_nanodollars": 70,
        "price_nanodollars": 2**40,
    }


@pytest.mark.parametrize("batch", [40, 170, 400])
def test_sums_agree_with_entries_however_they_come(house: House, batch: int) -> None:
    made = some(400)
    for at in range(0, len(made), batch):
        house.enter(made[at : at + batch])
    assert carried(house.database) == Counter(one.closed.attempt for one in made)
    expect_sums(house.database)
    with house.database.reading() as connection:
        rows = connection.execute(select(rollup_hours).where(rollup_hours.c.kind == 0)).all()
    assert sum(row.failures for row in rows) == sum(one.closed.outcome != Outcome.OK for one in made)
    for name, source in (("estimated", 2), ("partial", 3), ("unknown", 0)):
        assert sum(getattr(row, name) for row in rows) == sum(
            one.closed.usage.source == source for one in made
        )
    assert sum(row.duration_ms for row in rows) == sum(one.closed.at_ms - one.opened.at_ms for one in made)


def test_a_sum_is_in_the_hour_the_day_and_the_month_in_which_it_began(house: House) -> None:
    house.enter(
        [attempt(1, T0), attempt(2, T0 + HOUR_MS), attempt(3, T0 + DAY_MS), attempt(4, T0 + 30 * DAY_MS)]
    )
    with house.database.reading() as connection:
        for table, expected in (
            (rollup_hours, [1, 1, 1, 1]),
            (rollup_days, [2, 1, 1]),
            (rollup_months, [3, 1]),
        ):
            query = select(table.c.attempts).where(table.c.kind == 0).order_by(table.c.bucket_ms)
            assert list(connection.scalars(query)) == expected


def test_tags_and_teams_have_sums_of_their_own(house: House) -> None:
    with house.database.writing() as connection:
        tagged = Key(id="key_a", name="a", tags=("red", "blue", "red"))
        connection.execute(
            insert(keys), [to_columns(tagged), to_columns(Key(id="key_b", name="b", tags=("blue",)))]
        )
    house.enter([attempt(1), attempt(2, key="key_b", team="team_b"), attempt(3, key="key_c", team="")])
    assert tag_sums(house.database) == {"red": 1, "blue": 2}
    with house.database.writing() as connection:
        change_key(connection, "key_a", tags=("green",))
    house.enter([attempt(4)])
    assert tag_sums(house.database) == {"red": 1, "blue": 2, "green": 1}
    with house.database.reading() as connection:
        days = rollup_days
        teams_found = select(terms.c.text, days.c.attempts).join(terms, terms.c.number == days.c.subject)
        found = dict(connection.execute(teams_found.where(days.c.kind == 12)).all())
    assert found == {"team_a": 2, "team_b": 1}


def tag_sums(database: Database) -> dict[str, int]:
    with database.reading() as connection:
        query = select(terms.c.text, rollup_hours.c.attempts).join(
            terms, terms.c.number == rollup_hours.c.subject
        )
        return dict(connection.execute(query.where(rollup_hours.c.kind == 3)).all())


def test_what_prepaid_teams_use_is_debited(house: House) -> None:
    with house.database.writing() as connection:
        paying = Team(id="team_a", name="a", prepaid=True)
        connection.execute(insert(teams), [to_columns(paying), to_columns(Team(id="team_b", name="b"))])
    house.enter(
        [
            attempt(1, price=5),
            attempt(2, price=7),
            attempt(3, team="team_b"),
            attempt(4, T0 + DAY_MS, price=1),
        ]
    )
    house.enter([attempt(5, price=100)])
    with house.database.writing() as connection:
        assert balance(connection, "team_a") == -113
        assert [one.amount_nanodollars for one in list_postings(connection, "team_a").items] == [-1, -112]
        assert list_postings(connection, "team_b").items == ()
        change_team(connection, "team_a", prepaid=False)
    house.enter([attempt(6)])
    with house.database.reading() as connection:
        assert balance(connection, "team_a") == -113


def test_nothing_is_entered_twice(house: House) -> None:
    made = some(30)
    house.enter(made[:20])
    with pytest.raises(Repeated):
        house.enter(made[10:])
    assert len(carried(house.database)) == 20
    house.enter(made[10:] + made[25:], look=True)
    assert carried(house.database) == Counter(range(1, 31))
    expect_sums(house.database)


def test_what_has_aged_out_is_not_entered_again(house: House) -> None:
    house.enter([attempt(1, T0), attempt(2, T0 + 10)], look=True, oldest_ms=T0 + 10)
    assert carried(house.database) == Counter([2])


def test_of_two_that_carry_one_journal_the_slower_is_told(
    house: House, connect: Callable[[], Database]
) -> None:
    other = House(connect())
    other.enter([attempt(1)])
    with pytest.raises(Outdated):
        house.enter([attempt(1), attempt(2)])
    assert carried(house.database) == Counter([1])
    with house.database.reading() as connection:
        assert read_mark(connection, "test") == other.mark
        assert read_mark(connection, "another") is None


def test_two_journals_may_have_the_same_numbers(house: House) -> None:
    house.enter([attempt(1)])
    with house.database.writing() as connection:
        house.mark = find_mark(connection, "another journal")
        assert house.mark.position == START
    house.enter([attempt(1)])
    assert carried(house.database) == Counter([1, 1])
    expect_sums(house.database)


def test_numbers_and_texts_that_somebody_made_up_do_not_stop_the_ledger(house: House) -> None:
    mad = Usage(Source.REPORTED, LARGEST, LARGEST, LARGEST, LARGEST)
    names: dict[str, Any] = {
        "key": 'a"\\{},\n',
        "model": "nul\0byte",
        "upstream_model": "Ünï'; --",
        "user": "u\0" + "x" * 5000,
    }
    house.enter([attempt(number, usage=mad, cost=LARGEST, price=LARGEST, **names) for number in range(1, 4)])
    house.enter([attempt(number, usage=mad, cost=LARGEST, price=LARGEST, **names) for number in range(4, 6)])
    with house.database.reading() as connection:
        hour = connection.execute(select(rollup_hours).where(rollup_hours.c.kind == 0)).one()
        users = set(connection.scalars(select(entries.c.user)))
        found = set(connection.scalars(select(terms.c.text)))
    assert (hour.attempts, hour.price_nanodollars, hour.input_tokens) == (5, LARGEST, 5 * 10**15)
    assert users == {"u\ufffd" + "x" * 254}
    assert {'a"\\{},\n', "nul\ufffdbyte", "far/Ünï'; --"} <= found


def test_a_clock_that_was_set_back_takes_no_time_from_others(house: House) -> None:
    house.enter(
        [attempt(1, took_ms=-5000), attempt(2, took_ms=300), attempt(3, at_ms=5), attempt(4, at_ms=2**52)]
    )
    with house.database.reading() as connection:
        rows = connection.execute(select(rollup_months).where(rollup_months.c.kind == 0)).all()
    assert sum(row.duration_ms for row in rows) == 300 + 500 + 500
    expect_sums(house.database)


def test_a_transaction_that_is_lost_leaves_no_name_behind(house: House) -> None:
    class Power(Exception):
        pass

    def broken_off() -> None:
        with house.database.writing() as connection:
            house.ledger.enter(connection, house.mark, [attempt(1)], Position(1, 0, 1), T0)
            raise Power

    with pytest.raises(Power):
        broken_off()
    house.ledger.forget()
    house.enter([attempt(1)])
    with house.database.reading() as connection:
        row = connection.execute(select(entries.c.key)).scalar_one()
        assert connection.execute(select(terms.c.text).where(terms.c.number == row)).scalar_one() == "key_a"


def test_a_record_of_before_has_no_account(house: House) -> None:
    old = attempt(1, team="", key="")
    house.enter([Ended(msgspec.structs.replace(old.opened, upstream="", upstream_model=""), old.closed)])
    with house.database.reading() as connection:
        row = connection.execute(select(entries)).one()
    assert (row.key, row.team, row.target) == (0, 0, 0)
    expect_sums(house.database)
