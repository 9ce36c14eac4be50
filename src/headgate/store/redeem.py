"""Redeem codes: made in batches, shown once, each worth a credit to whichever team brings it first."""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy import Connection, insert, select, update

from headgate.core.errors import RecordMissing, RecordRefused
from headgate.store import rules
from headgate.store.balances import post
from headgate.store.page import Page, page_of
from headgate.store.records import Posting, RedeemCode
from headgate.store.schema_accounts import redeem_codes

MOST_AT_ONCE = 10_000
"""Codes in one batch: printed, they fill a box."""
_GROUPS, _GROUP_LETTERS = 5, 5
"""125 bits in base 32: nobody guesses one, and people can copy it."""
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LOOK_ALIKE = str.maketrans("ILO", "110", "- ")


def make_codes(
    connection: Connection,
    amount_nanodollars: int,
    *,
    count: int = 1,
    note: str = "",
    expires_ms: int | None = None,
    now_ms: int,
) -> list[str]:
    """Makes codes and returns them in clear: only their hashes are kept. Raises RecordRefused."""
    if not 1 <= count <= MOST_AT_ONCE:
        raise RecordRefused(f"count: from 1 to {MOST_AT_ONCE}")
    rules.amount(amount_nanodollars, "amount_nanodollars", least=1)
    codes = [_make_code() for _ in range(count)]
    note = rules.text(note, "note")
    rows = [
        {
            "sha256": _digest(code),
            "shown": f"…{code[-5:]}",
            "amount_nanodollars": amount_nanodollars,
            "note": note,
            "created_ms": now_ms,
            "expires_ms": expires_ms,
        }
        for code in codes
    ]
    connection.execute(insert(redeem_codes), rows)
    return codes


def redeem(connection: Connection, code: str, team_id: str, *, now_ms: int, actor: str = "") -> Posting:
    """Credits a team with what a code is worth, once. Raises RecordRefused, and does not say why."""
    digest = _digest(code)
    valid = (redeem_codes.c.expires_ms.is_(None)) | (redeem_codes.c.expires_ms > now_ms)
    taken = (
        update(redeem_codes)
        .where(redeem_codes.c.sha256 == digest, redeem_codes.c.redeemed_ms.is_(None), valid)
        .where(redeem_codes.c.withdrawn.is_(False))
        .values(redeemed_ms=now_ms, redeemed_by=team_id)
        .returning(redeem_codes.c.amount_nanodollars, redeem_codes.c.shown)
    )
    row = connection.execute(taken).one_or_none()
    if row is None:
        raise RecordRefused("the code is not valid, or was used")
    return post(
        connection,
        team_id,
        "redeem",
        row.amount_nanodollars,
        now_ms=now_ms,
        note=f"code {row.shown}",
        actor=actor,
        reference=f"code:{digest.hex()}",
    )


def withdraw(connection: Connection, code: str) -> None:
    """Makes a code worthless that was not used yet; raises RecordMissing."""
    unused = (redeem_codes.c.sha256 == _digest(code)) & redeem_codes.c.redeemed_ms.is_(None)
    if connection.execute(update(redeem_codes).where(unused).values(withdrawn=True)).rowcount == 0:
        raise RecordMissing("there is no such code, or it was used")


def list_codes(connection: Connection, *, limit: int = 100, cursor: str | None = None) -> Page[RedeemCode]:
    """Codes, the newest first; what they are in clear nobody knows any more."""
    query, order = select(redeem_codes), [redeem_codes.c.id]
    return page_of(connection, query, order, RedeemCode, limit=limit, cursor=cursor, newest_first=True)


def _make_code() -> str:
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(_GROUPS * _GROUP_LETTERS))
    return "-".join(letters[at : at + _GROUP_LETTERS] for at in range(0, len(letters), _GROUP_LETTERS))


def _digest(code: str) -> bytes:
    """The hash of a code, however it was typed: case, spaces, dashes do not count, nor I for 1, O for 0."""
    plain = code.upper().translate(_LOOK_ALIKE)
    return hashlib.sha256(plain.encode("utf-8", "replace")).digest()
