"""Balances: credits and debits of teams that pay in advance. A balance is the sum of its postings.

What a team uses is debited by the ledger, one posting for each day. Must not know how a credit was paid.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from headgate.core.errors import RecordRefused
from headgate.store.changes import BALANCES, raise_version
from headgate.store.page import Page, page_of
from headgate.store.records import Posting, PostingKind
from headgate.store.schema_accounts import postings, teams

_USAGE = "usage:"


def balance(connection: Connection, team_id: str) -> int:
    """The sum of a team's postings in nano-dollars, as far as the journal was carried."""
    total = select(func.coalesce(func.sum(postings.c.amount_nanodollars), 0)).where(
        postings.c.team_id == team_id
    )
    return int(connection.execute(total).scalar_one())


def credited(connection: Connection, team_id: str) -> int:
    """The same without what was used."""
    total = select(func.coalesce(func.sum(postings.c.amount_nanodollars), 0)).where(
        (postings.c.team_id == team_id) & (postings.c.kind != "usage")
    )
    return int(connection.execute(total).scalar_one())


def post(
    connection: Connection,
    team_id: str,
    kind: PostingKind,
    amount_nanodollars: int,
    *,
    now_ms: int,
    note: str = "",
    actor: str = "",
    reference: str | None = None,
) -> Posting:
    """Books a credit (above zero) or a debit (below); one with a reference that was booked is refused.

    Raises RecordRefused, also for a team that is not there.
    """
    known = connection.execute(select(teams.c.id).where(teams.c.id == team_id)).scalar()
    if known is None:
        raise RecordRefused("there is no such team")
    values = {
        "team_id": team_id,
        "at_ms": now_ms,
        "kind": kind,
        "amount_nanodollars": amount_nanodollars,
        "note": note,
        "actor": actor,
        "reference": reference,
    }
    raise_version(connection, BALANCES)
    number = connection.execute(insert(postings).values(values).returning(postings.c.id)).scalar_one()
    return Posting(id=number, **values)  # type: ignore[arg-type]  # the columns are the fields


def list_postings(
    connection: Connection, team_id: str, *, limit: int = 100, cursor: str | None = None
) -> Page[Posting]:
    """A team's postings, the newest first."""
    query = select(postings).where(postings.c.team_id == team_id)
    return page_of(connection, query, [postings.c.id], Posting, limit=limit, cursor=cursor, newest_first=True)


def debit_usage(
    connection: Connection, team_id: str, day_ms: int, amount_nanodollars: int, now_ms: int
) -> None:
    """Debits what a team used in the operator's day; more of that day is added to the same posting."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    posting = dialect.insert(postings).values(
        team_id=team_id,
        at_ms=now_ms,
        kind="usage",
        amount_nanodollars=-amount_nanodollars,
        reference=f"{_USAGE}{day_ms}",
    )
    added = postings.c.amount_nanodollars + posting.excluded.amount_nanodollars
    connection.execute(
        posting.on_conflict_do_update(
            index_elements=["team_id", "reference"], set_={"amount_nanodollars": added, "at_ms": now_ms}
        )
    )
