"""Attempts for tests of the ledger, alone or through a journal, and what a database says of them."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from headgate.core.accounting import Charge, Held
from headgate.core.ports import Closed, Opened, Outcome
from headgate.core.usage import Source, Usage
from headgate.store.carrier import Carrier, Orders
from headgate.store.database import Database
from headgate.store.follow import Ended
from headgate.store.journal import FileJournal
from headgate.store.reader import read
from headgate.store.schema_ledger import entries, rollup_days, rollup_hours, rollup_months
from tests.store.records import start

T0 = 1_790_000_000_000
"""21 September 2026, 14:13:20 UTC."""


def attempt(number: int, at_ms: int = T0, **fields: Any) -> Ended:
    """One that went well, unless `fields` say otherwise."""
    has = {
        "key": "key_a",
        "team": "team_a",
        "user": "",
        "endpoint": "chat.completions",
        "model": "gpt",
        "upstream": "far",
        "upstream_model": "gpt-4",
        "outcome": Outcome.OK,
        "status": 200,
        "usage": Usage(Source.REPORTED, 10, 4, 6, 2),
        "cost": 70,
        "price": 100,
        "took_ms": 500,
        **fields,
    }
    held = Held(team_id=has["team"], user=has["user"])
    names = (has["key"], has["endpoint"], has["model"], has["upstream"], has["upstream_model"])
    return Ended(
        Opened(number, at_ms, f"req_{number}", *names, held),
        Closed(
            number,
            at_ms + has["took_ms"],
            has["outcome"],
            has["status"],
            has["usage"],
            Charge(has["cost"], has["price"]),
        ),
    )


def some(count: int, seed: int = 1) -> list[Ended]:
    """Attempts of several keys, teams and models over some days."""
    chance = random.Random(seed)
    made = []
    for number in range(1, count + 1):
        key = chance.randrange(6)
        outcome = chance.choice(list(Outcome))
        usage = Usage(chance.choice(list(Source)), *(chance.randrange(1000) for _ in range(4)))
        made.append(
            attempt(
                number,
                T0 + chance.randrange(40 * 24 * 3_600_000),
                key=f"key_{key}",
                team=f"team_{key % 2}" if key else "",
                model=f"m{chance.randrange(3)}",
                upstream=f"u{chance.randrange(2)}",
                endpoint=chance.choice(["chat.completions", "embeddings"]),
                user=chance.choice(["", "ann", "bob"]),
                outcome=outcome,
                status=chance.choice([200, 429, 500]),
                usage=usage,
                cost=chance.randrange(10**6),
                price=chance.randrange(10**6),
                took_ms=chance.randrange(60_000),
            )
        )
    return made


def journal(folder: Path, **settings: Any) -> FileJournal:
    """A journal with small segments, in a data folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return start(folder / "journal", **settings)


def write(into: FileJournal, count: int, *, key: str = "key_a", price: int = 100) -> list[int]:
    """Opens and closes so many attempts; their numbers."""
    numbers = []
    for _ in range(count):
        held = Held(5, 70, price, "team_a", "ann")
        number = into.open("req_1", key, "chat.completions", "gpt", "far", "gpt-4", held)
        into.close(number, Outcome.OK, 200, Usage(Source.REPORTED, 10, 4, 6, 2), Charge(70, price))
        numbers.append(number)
    return numbers


def carrier(database: Database, folder: Path, identity: str = "test", **settings: Any) -> Carrier:
    """A carrier of the journal in a data folder, in this process."""
    batch = settings.pop("batch_entries", 1000)
    orders = Orders(folder=str(folder), journal=str(folder / "journal"), identity=identity, **settings)
    return Carrier(database, orders, batch_entries=batch)


def carry_all(one: Carrier) -> None:
    """Carries until nothing new is there."""
    while one.carry():
        pass


def carried(database: Database) -> Counter[int]:
    """How many entries each attempt has."""
    with database.reading() as connection:
        return Counter(connection.scalars(select(entries.c.attempt)))


def truth(folder: Path) -> dict[int, Closed]:
    """What the journal says of each attempt that has ended, whatever is damaged."""
    return {
        record.attempt: record
        for record in read(folder / "journal", lambda path, damage: None)
        if isinstance(record, Closed)
    }


def expect_sums(database: Database) -> None:
    """Every roll-up says the same as the entries; AssertionError if not."""
    with database.reading() as connection:
        exact = connection.execute(
            select(
                func.count(),
                *(
                    func.coalesce(func.sum(entries.c[name]), 0)
                    for name in ("input_tokens", "price_nanodollars")
                ),
            )
        ).one()
        by_key = {
            row.key: (row.count, row.price)
            for row in connection.execute(
                select(
                    entries.c.key,
                    func.count().label("count"),
                    func.sum(entries.c.price_nanodollars).label("price"),
                ).group_by(entries.c.key)
            )
        }
        for table in (rollup_hours, rollup_days, rollup_months):
            sums = [table.c.attempts, table.c.input_tokens, table.c.price_nanodollars]
            total = select(*(func.coalesce(func.sum(column), 0) for column in sums)).where(table.c.kind == 0)
            assert tuple(connection.execute(total).one()) == tuple(exact), table.name
            keys = select(
                table.c.subject,
                func.sum(table.c.attempts).label("count"),
                func.sum(table.c.price_nanodollars).label("price"),
            ).where(table.c.kind == 1)
            found = {
                row.subject: (row.count, row.price)
                for row in connection.execute(keys.group_by(table.c.subject))
            }
            assert found == by_key, table.name
