"""Ten million entries through the ledger's own transaction, then the time that each kind of report takes.

    python -m bench.ledger FOLDER [--entries N] [--days N] [--keys N]    SQLite in FOLDER
    HEADGATE_DATABASE_URL=... python -m bench.ledger FOLDER              PostgreSQL; FOLDER stays empty

A database that is filled already is only asked. Written for people: prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select

from headgate.core.accounting import Charge, Held
from headgate.core.ports import Closed, Opened, Outcome
from headgate.core.usage import Source, Usage
from headgate.store.calendar import HOUR_MS, Calendar
from headgate.store.changes import KEYS, raise_version
from headgate.store.database import URL_VARIABLE, Database, place
from headgate.store.entries import Filter, list_entries, sum_entries
from headgate.store.follow import Ended, Position
from headgate.store.ledger import Ledger, find_mark
from headgate.store.migrate import migrate
from headgate.store.reports import Question, report
from headgate.store.schema_accounts import keys, teams
from headgate.store.schema_ledger import entries, instances, rollup_hours

TEAMS, MODELS, UPSTREAMS, TAGS = 200, 40, 6, 20
ENDPOINTS = ("chat.completions", "embeddings", "images.generations", "audio.speech")
NOW_MS = 1_790_000_000_000
"""A fixed end, so that every fill is the same."""
ASKED = 5
"""Times that each question is asked; the median counts, and the first is told besides."""


class House:
    """Who asks for what: many keys, each with a few models; some ask far more than others."""

    def __init__(self, key_count: int) -> None:
        chance = random.Random(7)
        self.keys = [f"key_{number:018d}" for number in range(key_count)]
        self.teams = [f"team_{number:018d}" for number in range(TEAMS)]
        self.team_of = {key: self.teams[number % TEAMS] for number, key in enumerate(self.keys)}
        self.models_of = {
            key: [chance.randrange(MODELS) for _ in range(1 + chance.randrange(3))] for key in self.keys
        }
        self.weights = [1 / (1 + number % 97) for number in range(key_count)]

    def enter(self, connection: Connection) -> None:
        """Makes the teams and keys, a fifth of them with a tag."""
        version = raise_version(connection, KEYS)
        connection.execute(
            insert(teams), [{"id": team, "name": team, "changed": version} for team in self.teams]
        )
        rows = [
            {
                "id": key,
                "name": key,
                "team_id": self.team_of[key],
                "tags": f'["tag-{number % TAGS}"]' if number % 5 == 0 else "[]",
                "changed": version,
            }
            for number, key in enumerate(self.keys)
        ]
        connection.execute(insert(keys), rows)

    def attempts(self, count: int, from_ms: int, to_ms: int) -> Iterator[Ended]:
        """So many attempts, evenly over a time."""
        chance = random.Random(11)
        for first in range(0, count, 10_000):
            for number, key in enumerate(
                chance.choices(self.keys, self.weights, k=min(10_000, count - first)), first
            ):
                at_ms = from_ms + (to_ms - from_ms) * number // count
                model = chance.choice(self.models_of[key])
                names = (
                    key,
                    ENDPOINTS[model % len(ENDPOINTS)],
                    f"model-{model}",
                    f"upstream-{model % UPSTREAMS}",
                )
                held = Held(team_id=self.team_of[key], user=f"user-{number % 5000}")
                opened = Opened(number, at_ms, f"req_{number:032x}", *names, f"model-{model}", held)
                tokens = 50 + number % 2000
                usage = Usage(Source.REPORTED, tokens, tokens // 4, tokens // 3, 0)
                outcome, status = (Outcome.OK, 200) if number % 50 else (Outcome.FAILED, 502)
                yield Ended(
                    opened,
                    Closed(number, at_ms + 900, outcome, status, usage, Charge(tokens * 2500, tokens * 3000)),
                )


def fill(database: Database, calendar: Calendar, house: House, count: int, from_ms: int, batch: int) -> None:
    """Enters all, `batch` at a time; goes on where an earlier fill was broken off."""
    ledger = Ledger(calendar)
    with database.writing() as connection:
        mark = find_mark(connection, "bench")
        if mark.batches == 0:
            house.enter(connection)
    entered = mark.position.at
    if entered >= count:
        return
    begun_s = time.monotonic()
    waiting: list[Ended] = []
    for number, ended in enumerate(house.attempts(count, from_ms, NOW_MS), 1):
        if number <= entered:
            continue
        waiting.append(ended)
        if len(waiting) == batch or number == count:
            with database.writing() as connection:
                mark = ledger.enter(connection, mark, waiting, Position(1, 0, number), NOW_MS)
            waiting = []
            if number % (batch * 20) == 0:
                print(
                    f"{number:,} entries, {(number - entered) / (time.monotonic() - begun_s):,.0f}/s",
                    flush=True,
                )
    print(f"filled: {(count - entered) / (time.monotonic() - begun_s):,.0f} entries/s, by one process\n")


def questions(
    house: House, calendar: Calendar, from_ms: int, now_ms: int
) -> dict[str, Callable[[Connection], Any]]:
    """What is asked, in words."""
    month_ms, day_ms = now_ms - 30 * 24 * HOUR_MS, 24 * HOUR_MS
    key, team = house.keys[0], house.teams[3]

    def ask(from_ms: int = month_ms, to_ms: int = now_ms, **question: Any) -> Callable[[Connection], Any]:
        asked = Question(from_ms=from_ms, to_ms=to_ms, **question)
        return lambda connection: report(connection, asked, calendar)

    def seek(from_ms: int, **wanted: Any) -> Callable[[Connection], Any]:
        return lambda connection: list_entries(connection, Filter(from_ms=from_ms, to_ms=now_ms, **wanted))

    def add(from_ms: int, group: Any, **wanted: Any) -> Callable[[Connection], Any]:
        return lambda connection: sum_entries(
            connection, Filter(from_ms=from_ms, to_ms=now_ms, **wanted), group_by=group
        )

    return {
        "report: total of all time": ask(from_ms),
        "report: by model, all time": ask(from_ms, group_by=("model",)),
        "report: by key, last 30 days, highest price first": ask(group_by=("key",)),
        "report: by key, all time": ask(from_ms, group_by=("key",)),
        "report: by key and model, last 7 days": ask(now_ms - 7 * day_ms, group_by=("key", "model")),
        "report: who used one model, by key, last 30 days": ask(
            group_by=("key",), where={"model": "model-3"}
        ),
        "report: by team, last 30 days": ask(group_by=("team",)),
        "report: by tag and model, last 30 days": ask(group_by=("tag", "model")),
        "report: by hour and model, last 30 days": ask(grain="hour", group_by=("model",), limit=1000),
        "report: by hour and target, last 30 days": ask(grain="hour", group_by=("target",), limit=1000),
        "report: by hour and key, last 30 days, first page": ask(grain="hour", group_by=("key",), limit=1000),
        "report: by day, all time": ask(from_ms, grain="day", limit=1000),
        "report: one key by day and model, all time": ask(
            from_ms, grain="day", group_by=("model",), where={"key": key}
        ),
        "report: one team by key, last 30 days": ask(group_by=("key",), where={"team": team}),
        "report: one team by hour, last 30 days": ask(grain="hour", where={"team": team}, limit=1000),
        "entries: newest 100": seek(from_ms),
        "entries: newest 100 of one key": seek(from_ms, key=key),
        "entries: an end user's, one that is nobody, all time": seek(from_ms, user="nobody"),
        "entries: user contains text, last 7 days": seek(now_ms - 7 * day_ms, user_contains="4321"),
        "entries: one request by id, last 7 days": seek(now_ms - 7 * day_ms, request_id="req_none"),
        "entries: sum by end user, last 7 days": add(now_ms - 7 * day_ms, "user"),
        "entries: sum of a model and status, last 14 days": add(
            now_ms - 14 * day_ms, "key", model="model-3", status=502
        ),
    }


def main() -> None:
    """Fills what is not filled, asks everything, prints the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.ledger")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=20_000)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    database, calendar, house = (
        Database(place(given.folder, os.environ.get(URL_VARIABLE))),
        Calendar(),
        House(given.keys),
    )
    from_ms = NOW_MS - given.days * 24 * HOUR_MS
    migrate(database)
    fill(database, calendar, house, given.entries, from_ms, given.batch)
    with database.writing() as connection:
        connection.exec_driver_sql("ANALYZE")
    with database.reading() as connection:
        rows = connection.execute(select(func.count()).select_from(rollup_hours)).scalar()
        held = connection.execute(select(instances.c.at)).scalar()
        now_ms = connection.execute(select(func.max(entries.c.started_ms))).scalar_one() + 1
    print(f"{held:,} entries, {rows:,} sums by hour, {database.dialect}\n")
    print("| question | first | median |\n|---|---|---|")
    for words, ask in questions(house, calendar, from_ms, now_ms).items():
        times_ms = []
        for _ in range(ASKED):
            begun_s = time.perf_counter()
            with database.reading() as connection:
                ask(connection)
            times_ms.append((time.perf_counter() - begun_s) * 1000)
        print(f"| {words} | {times_ms[0]:.0f} ms | {statistics.median(times_ms):.0f} ms |", flush=True)
    database.close()


if __name__ == "__main__":
    main()
