"""Bodies of requests are sealed in the database, and go when their time is over."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from headgate.core.errors import RecordMissing, StoreError
from headgate.store.bodies import MOST_BYTES, Bodies, get_bodies, keep_bodies
from headgate.store.database import Database
from headgate.store.retention import HOUR_MS, age_out
from headgate.store.schema_ledger import request_bodies
from headgate.store.seal import Seal

NOW = 1_800_000_000_000
ASKED = Bodies(
    request_id="req_1", at_ms=NOW, key_id="key_1", request=b'{"secret": "plans"}', reply=b"the answer"
)


def test_what_is_kept_is_sealed(database: Database) -> None:
    seal = Seal(bytes(32))
    with database.writing() as connection:
        keep_bodies(connection, ASKED, seal)
        assert get_bodies(connection, "req_1", seal) == ASKED
        row = connection.execute(select(request_bodies)).one()
        kept = bytes(row.request) + bytes(row.reply)
        assert b"plans" not in kept
        assert b"answer" not in kept
        with pytest.raises(StoreError):
            get_bodies(connection, "req_1", Seal(b"\x01" * 32))
        connection.execute(request_bodies.update().values(request_id="req_2"))
        with pytest.raises(StoreError):
            get_bodies(connection, "req_2", seal)  # a row that was given another request's name
        with pytest.raises(RecordMissing):
            get_bodies(connection, "req_1", seal)


def test_long_ones_are_cut_and_say_so(database: Database) -> None:
    seal = Seal(bytes(32))
    long = Bodies(request_id="r", at_ms=NOW, key_id="", request=b"a" * (MOST_BYTES + 1), reply=b"")
    with database.writing() as connection:
        keep_bodies(connection, long, seal)
        found = get_bodies(connection, "r", seal)
    assert (len(found.request), found.cut) == (MOST_BYTES, True)


def test_they_go_when_their_time_is_over(database: Database) -> None:
    seal = Seal(bytes(32))
    with database.writing() as connection:
        keep_bodies(connection, ASKED, seal)
        kept = {"keep_entries_days": 0, "keep_bodies_hours": 24}
        assert age_out(connection, now_ms=NOW + 24 * HOUR_MS, **kept) == 0
        assert age_out(connection, now_ms=NOW + 24 * HOUR_MS + 1, **kept) == 1
        with pytest.raises(RecordMissing):
            get_bodies(connection, "req_1", seal)
