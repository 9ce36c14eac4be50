"""Keys as records: what is kept of a secret, what may be changed, what rotation leaves open."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from sqlalchemy import insert, select

from headgate.core.errors import RecordMissing, RecordRefused
from headgate.core.limit import Limits
from headgate.store.database import Database
from headgate.store.key_records import (
    change_key,
    create_key,
    delete_key,
    find_key,
    forget_expired_secrets,
    get_key,
    list_keys,
    rotate_key,
)
from headgate.store.keys import PREFIX, is_mistyped
from headgate.store.page import to_columns
from headgate.store.records import Key, Team
from headgate.store.schema_accounts import key_secrets, keys
from headgate.store.teams import create_team

NOW = 1_800_000_000_000


def new(**fields: Any) -> Key:
    return Key(**{"id": "", "name": "a key", **fields})


def test_a_key_is_kept_as_a_hash_alone(database: Database) -> None:
    limits = Limits(requests_per_minute=3)
    wanted = new(
        owner="Ada",
        scopes=("models",),
        models=("gpt-*",),
        networks=("10.1.2.3/8",),
        tags=("blue",),
        limits=limits,
    )
    with database.writing() as connection:
        made, secret = create_key(connection, wanted, now_ms=NOW)
    assert secret.startswith(PREFIX)
    assert not is_mistyped(secret.encode())
    assert made.id.startswith("key_")
    assert made.networks == ("10.0.0.0/8",)
    assert made.shown == f"{PREFIX}…{secret[-4:]}"
    with database.reading() as connection:
        assert get_key(connection, made.id) == made
        everything = [*connection.execute(select(keys)).all(), *connection.execute(select(key_secrets)).all()]
        assert secret not in repr(everything)
        kept = connection.execute(select(key_secrets)).one()
    assert (bytes(kept.sha256), kept.key_id) == (hashlib.sha256(secret.encode()).digest(), made.id)


def test_a_key_from_elsewhere_keeps_its_form(database: Database) -> None:
    foreign = "AIzaSy-0123456789_abcdefghij"
    with database.writing() as connection:
        made, secret = create_key(connection, new(), now_ms=NOW, secret=foreign)
        assert secret == foreign
        assert find_key(connection, foreign) == made
        with pytest.raises(RecordRefused, match="already"):
            create_key(connection, new(), now_ms=NOW, secret=foreign)


@pytest.mark.parametrize(
    "secret", ["short", "with a space in it, long enough", "ключ-из-другого-места", "x" * 513]
)
def test_a_key_that_no_header_carries_is_refused(database: Database, secret: str) -> None:
    with pytest.raises(RecordRefused, match="secret") as caught, database.writing() as connection:
        create_key(connection, new(), now_ms=NOW, secret=secret)
    assert secret not in str(caught.value)


def test_a_mistyped_key_is_not_imported(database: Database) -> None:
    with database.writing() as connection:
        _, secret = create_key(connection, new(), now_ms=NOW)
        wrong = secret[:-1] + ("A" if secret[-1] != "A" else "B")
        with pytest.raises(RecordRefused, match="mistyped"):
            create_key(connection, new(), now_ms=NOW, secret=wrong)


def test_rotation_leaves_the_old_secret_its_grace(database: Database) -> None:
    with database.writing() as connection:
        made, first = create_key(connection, new(), now_ms=NOW)
        after, second = rotate_key(connection, made.id, now_ms=NOW, grace_ms=60_000)
        assert find_key(connection, first) == find_key(connection, second) == after
        assert after.shown.endswith(second[-4:])
        ends = {bytes(row.sha256): row.expires_ms for row in connection.execute(select(key_secrets))}
        assert ends == {_hash(first): NOW + 60_000, _hash(second): None}
        rotate_key(connection, made.id, now_ms=NOW + 1, grace_ms=600_000)
        ends = {bytes(row.sha256): row.expires_ms for row in connection.execute(select(key_secrets))}
        assert ends[_hash(first)] == NOW + 60_000, "a second rotation must not prolong the first one's grace"
        assert ends[_hash(second)] == NOW + 600_001
        assert forget_expired_secrets(connection, now_ms=NOW + 60_000) == 1
        with pytest.raises(RecordMissing):
            find_key(connection, first)
        _, last = rotate_key(connection, made.id, now_ms=NOW)
        assert [bytes(one) for one in connection.scalars(select(key_secrets.c.sha256))] == [_hash(last)]


def test_a_deleted_key_opens_nothing_and_is_not_forgotten(database: Database) -> None:
    with database.writing() as connection:
        made, secret = create_key(connection, new(), now_ms=NOW)
        delete_key(connection, made.id, now_ms=NOW)
        with pytest.raises(RecordMissing):
            get_key(connection, made.id)
        with pytest.raises(RecordMissing):
            find_key(connection, secret)
        with pytest.raises(RecordMissing):
            delete_key(connection, made.id, now_ms=NOW)
        assert list_keys(connection).items == ()
        assert connection.execute(select(keys.c.deleted_ms)).scalar() == NOW


def test_what_may_be_changed(database: Database) -> None:
    with database.writing() as connection:
        team = create_team(connection, Team(id="", name="one"), now_ms=NOW)
        other = create_team(connection, Team(id="", name="two"), now_ms=NOW)
        made, _ = create_key(connection, new(), now_ms=NOW)
        changed = change_key(connection, made.id, name="another", disabled=True, expires_ms=NOW + 1)
        assert (changed.name, changed.disabled, changed.expires_ms) == ("another", True, NOW + 1)
        assert change_key(connection, made.id, team_id=team.id).team_id == team.id
        with pytest.raises(RecordRefused, match="stays with its team"):
            change_key(connection, made.id, team_id=other.id)
        for fixed in ({"id": "key_x"}, {"created_ms": 1}, {"deleted_ms": 1}, {"shown": "x"}):
            with pytest.raises(RecordRefused):
                change_key(connection, made.id, **fixed)
        with pytest.raises(RecordMissing):
            change_key(connection, "key_none", name="x")
        with pytest.raises(RecordRefused, match="no such team"):
            create_key(connection, new(team_id="team_none"), now_ms=NOW)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "x" * 129},
        {"name": "two\nlines"},
        {"name": "turned \u202e gnitirw"},
        {"name": "nothing\u200bto see"},
        {"networks": ("10.0.0.0/33",)},
        {"networks": ("example.com",)},
        {"tags": tuple(f"t{number}" for number in range(17))},
        {"tags": ("x" * 65,)},
        {"models": ("",)},
        {"metadata": {f"k{number}": "" for number in range(17)}},
        {"metadata": {"k": "x" * 513}},
        {"expires_ms": 2**63},
        {"expires_ms": -1},
    ],
)
def test_what_deceives_or_overflows_is_refused(database: Database, fields: dict[str, Any]) -> None:
    with pytest.raises(RecordRefused), database.writing() as connection:
        create_key(connection, new(**fields), now_ms=NOW)


HOSTILE = [
    "'; DROP TABLE keys; --",
    '" OR 1=1 --',
    "%s %(x)s :name ?",
    "100%_\\",
    "Ünïcödé 名前",
    "\\' OR ''='",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_texts_are_values_and_never_statements(database: Database, name: str) -> None:
    with database.writing() as connection:
        made, _ = create_key(
            connection, new(name=name, owner=name, tags=(name,), metadata={name: name}), now_ms=NOW
        )
        create_key(connection, new(name="bystander"), now_ms=NOW)
    with database.reading() as connection:
        found = get_key(connection, made.id)
        assert (found.name, found.owner, found.tags, found.metadata) == (name, name, (name,), {name: name})
        assert [key.id for key in list_keys(connection, search=name).items] == [made.id]
        assert list_keys(connection, team_id=name).items == ()


@pytest.mark.parametrize("wildcard", ["%", "_", "\\", "%%", "b_stander", "by%"])
def test_wildcards_in_a_search_are_letters(database: Database, wildcard: str) -> None:
    with database.writing() as connection:
        create_key(connection, new(name="bystander"), now_ms=NOW, secret="foreign-0123456789abcdef")
        assert list_keys(connection, search=wildcard).items == ()


def test_pages_hold_all_keys_once_whatever_comes_and_goes(database: Database) -> None:
    with database.writing() as connection:
        rows = [to_columns(new(id=f"key_{number:03d}", name=f"n{number}")) for number in range(25)]
        connection.execute(insert(keys), rows)
        seen, cursor = [], None
        while True:
            page = list_keys(connection, limit=10, cursor=cursor)
            seen += [key.id for key in page.items]
            if page.next_cursor is None:
                break
            cursor = page.next_cursor
            connection.execute(insert(keys), [to_columns(new(id=f"key_{len(seen) - 5:03d}x", name="late"))])
        assert [key for key in seen if not key.endswith("x")] == [f"key_{number:03d}" for number in range(25)]
        assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("cursor", ["x", "!!", "gaN4eHg", "' OR 1=1", "kgEC", "\N{SNOWMAN}"])
def test_a_cursor_of_somebody_s_own_making_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(RecordRefused, match="cursor"), database.reading() as connection:
        list_keys(connection, cursor=cursor)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
