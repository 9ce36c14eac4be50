"""Keys as records: made, imported, changed, rotated, deleted, listed. The secret in clear is shown once.

What opens the gate is in `keys.py`, which knows nothing of the database.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from headgate.core.errors import RecordMissing, RecordRefused
from headgate.store import rules
from headgate.store.changes import KEYS, raise_version
from headgate.store.identity import new_id
from headgate.store.keys import MIN_KEY_CHARACTERS, PREFIX, is_mistyped, make_key
from headgate.store.page import Page, like, page_of, to_columns, to_record
from headgate.store.records import Key
from headgate.store.schema_accounts import key_secrets, keys, teams

_MAX_SECRET_CHARACTERS = 512
"""Keys from elsewhere are shorter, and a header has to carry them."""
_FIXED = {"id", "team_id", "shown", "created_ms", "deleted_ms"}


def create_key(
    connection: Connection, key: Key, *, now_ms: int, secret: str | None = None
) -> tuple[Key, str]:
    """Makes a key and returns it with its secret in clear: show it once, it is not kept.

    `secret` imports a key from elsewhere, in whatever format it was given out. `id` and times are made here.
    Raises RecordRefused.
    """
    secret = make_key() if secret is None else _foreign(secret)
    made = msgspec.structs.replace(
        key, id=new_id("key"), shown=_shown(secret), created_ms=now_ms, deleted_ms=None
    )
    made = _checked(made)
    _refuse_missing_team(connection, made.team_id)
    version = raise_version(connection, KEYS)
    connection.execute(insert(keys).values(**to_columns(made), changed=version))
    _add_secret(connection, made.id, secret, now_ms)
    return made, secret


def change_key(connection: Connection, key_id: str, /, **changes: Any) -> Key:
    """Replaces fields of a key, by the names that `Key` has; raises RecordMissing, RecordRefused.

    A key without a team may be given one, and keeps it.
    """
    before = get_key(connection, key_id)
    moves = "team_id" in changes and before.team_id is None
    if (changes.keys() & _FIXED) - ({"team_id"} if moves else set()):
        raise RecordRefused("team_id: a key stays with its team" if "team_id" in changes else "that is fixed")
    after = _checked(msgspec.structs.replace(before, **changes))
    if moves:
        _refuse_missing_team(connection, after.team_id)
    version = raise_version(connection, KEYS)
    connection.execute(update(keys).where(keys.c.id == key_id).values(**to_columns(after), changed=version))
    return after


def rotate_key(
    connection: Connection, key_id: str, *, now_ms: int, grace_ms: int = 0, secret: str | None = None
) -> tuple[Key, str]:
    """Gives a key a new secret and returns it in clear; the old ones open for `grace_ms` more.

    Raises RecordMissing.
    """
    before = get_key(connection, key_id)
    secret = make_key() if secret is None else _foreign(secret)
    after = msgspec.structs.replace(before, shown=_shown(secret))
    version = raise_version(connection, KEYS)
    connection.execute(update(keys).where(keys.c.id == key_id).values(shown=after.shown, changed=version))
    mine = key_secrets.c.key_id == key_id
    if grace_ms > 0:
        until_ms = now_ms + rules.amount(grace_ms, "grace_ms")
        sooner = (key_secrets.c.expires_ms.is_(None)) | (key_secrets.c.expires_ms > until_ms)
        connection.execute(update(key_secrets).where(mine, sooner).values(expires_ms=until_ms))
    else:
        connection.execute(delete(key_secrets).where(mine))
    _add_secret(connection, key_id, secret, now_ms)
    return after, secret


def delete_key(connection: Connection, key_id: str, *, now_ms: int) -> None:
    """Closes a key for good: it stops opening, what it used stays. Raises RecordMissing."""
    get_key(connection, key_id)
    version = raise_version(connection, KEYS)
    connection.execute(update(keys).where(keys.c.id == key_id).values(deleted_ms=now_ms, changed=version))
    connection.execute(delete(key_secrets).where(key_secrets.c.key_id == key_id))


def get_key(connection: Connection, key_id: str) -> Key:
    """A key that was not deleted; raises RecordMissing."""
    query = select(keys).where(keys.c.id == key_id, keys.c.deleted_ms.is_(None))
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise RecordMissing("there is no such key")
    return to_record(Key, row)


def find_key(connection: Connection, secret: str) -> Key:
    """The key that a secret belongs to, for an operator who holds one in hand; raises RecordMissing."""
    digest = hashlib.sha256(secret.encode("utf-8", "replace")).digest()
    query = select(key_secrets.c.key_id).where(key_secrets.c.sha256 == digest)
    return get_key(connection, str(connection.execute(query).scalar() or ""))


def list_keys(
    connection: Connection,
    *,
    team_id: str | None = None,
    search: str = "",
    limit: int = 100,
    cursor: str | None = None,
) -> Page[Key]:
    """Keys in the order of their making; `search` is looked for in names, owners and shown secrets."""
    query = select(keys).where(keys.c.deleted_ms.is_(None))
    if team_id is not None:
        query = query.where(keys.c.team_id == team_id)
    if search:
        pattern = like(search)
        found = [column.ilike(pattern, escape="\\") for column in (keys.c.name, keys.c.owner, keys.c.shown)]
        query = query.where(found[0] | found[1] | found[2])
    return page_of(connection, query, [keys.c.id], Key, limit=limit, cursor=cursor)


def forget_expired_secrets(connection: Connection, *, now_ms: int) -> int:
    """Deletes secrets whose grace is over; returns how many."""
    over = key_secrets.c.expires_ms <= now_ms
    return connection.execute(delete(key_secrets).where(over)).rowcount


def _checked(key: Key) -> Key:
    return msgspec.structs.replace(
        key,
        name=rules.name(key.name),
        owner=rules.text(key.owner, "owner"),
        scopes=rules.names(key.scopes, "scopes"),
        models=rules.names(key.models, "models"),
        networks=rules.networks(key.networks),
        tags=rules.tags(key.tags),
        metadata=rules.metadata(key.metadata),
        model_limits=rules.patterned(key.model_limits, "model_limits"),
        expires_ms=None if key.expires_ms is None else rules.amount(key.expires_ms, "expires_ms"),
    )


def _foreign(secret: str) -> str:
    if not MIN_KEY_CHARACTERS <= len(secret) <= _MAX_SECRET_CHARACTERS:
        raise RecordRefused(f"secret: from {MIN_KEY_CHARACTERS} to {_MAX_SECRET_CHARACTERS} characters")
    if not all("!" <= character <= "~" for character in secret):
        raise RecordRefused("secret: a space or a character outside ASCII: no header carries it")
    if is_mistyped(secret.encode()):
        raise RecordRefused(f"secret: begins with {PREFIX} but is mistyped or cut")
    return secret


def _shown(secret: str) -> str:
    # Of a short foreign key little may show: four characters leave 70 bits of twelve.
    start = PREFIX if secret.startswith(PREFIX) else ""
    return f"{start}…{secret[-4:]}"


def _add_secret(connection: Connection, key_id: str, secret: str, now_ms: int) -> None:
    digest = hashlib.sha256(secret.encode()).digest()
    if connection.execute(select(key_secrets.c.key_id).where(key_secrets.c.sha256 == digest)).first():
        raise RecordRefused("secret: a key has it already")
    connection.execute(insert(key_secrets).values(sha256=digest, key_id=key_id, created_ms=now_ms))


def _refuse_missing_team(connection: Connection, team_id: str | None) -> None:
    if team_id is not None:
        there = select(teams.c.id).where(teams.c.id == team_id, teams.c.deleted_ms.is_(None))
        if connection.execute(there).first() is None:
            raise RecordRefused("team_id: there is no such team")
