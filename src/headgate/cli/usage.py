"""`headgate usage`: what was used, and what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headgate.cli.books import books, dollars, now_ms, show, told

DAY_MS = 86_400_000
DIMENSIONS = ("key", "team", "tag", "model", "target", "endpoint")


@click.command("usage")
@click.option("--days", type=click.IntRange(1, 3660), default=30, help="How far back.")
@click.option("--by", type=click.Choice(DIMENSIONS), multiple=True, help="A row for each; several times.")
@click.option("--grain", type=click.Choice(("hour", "day", "month")), help="A row for each time.")
@click.option("--key", help="Only of a key, by its id.")
@click.option("--team", help="Only of a team, by its id.")
@click.option("--model", help="Only of a model.")
@told
def command(
    days: int, by: tuple[Any, ...], grain: Any, data: Path | None, as_json: bool, **only: str | None
) -> None:
    """Report what was used, from sums that are kept for good."""
    from headgate.store.books import time_zone
    from headgate.store.calendar import Calendar
    from headgate.store.reports import Question, report

    end_ms = now_ms() + 1
    where: dict[Any, str] = {name: value for name, value in only.items() if value is not None}
    question = Question(
        from_ms=end_ms - days * DAY_MS, to_ms=end_ms, grain=grain, group_by=by, where=where, limit=1000
    )
    found: list[Any] = []
    with books(data) as database, database.reading() as connection:
        calendar = Calendar(time_zone("UTC"))
        rows = report(connection, question, calendar).rows
    for row in rows:
        line: dict[str, Any] = {"from_ms": row.bucket_ms} if grain else {}
        line |= row.names
        line |= {
            "attempts": row.sums.attempts,
            "input_tokens": row.sums.input_tokens,
            "output_tokens": row.sums.output_tokens,
            "cost": dollars(row.sums.cost_nanodollars),
            "price": dollars(row.sums.price_nanodollars),
        }
        found.append(line)
    columns = list(found[0]) if found else [*by, "attempts", "input_tokens", "output_tokens", "cost", "price"]
    show(found, columns, as_json=as_json)
