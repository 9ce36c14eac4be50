"""What is served and told: upstreams, models, prices, webhooks, settings, the audit log."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection

from headgate.core.errors import RecordMissing, RecordRefused
from headgate.store import catalog, webhooks
from headgate.store.audit import forget_audit, list_audit, note
from headgate.store.changes import CATALOG, PRICES, SETTINGS, WEBHOOKS, versions_now
from headgate.store.database import Database
from headgate.store.prices import change_price, create_price, delete_price, every_price
from headgate.store.records import Alias, Model, Price, Upstream, Webhook
from headgate.store.setting_rows import drop_setting, every_setting, get_setting, put_setting

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("record", "changes"),
    [
        (
            Upstream(name="far", settings={"base_url": "https://x/v1"}, credential=b"\x00sealed"),
            {"disabled": True},
        ),
        (Model(name="org/model:7b", settings={"targets": [1, 2]}), {"settings": {}}),
        (Alias(name="fast", model="gpt"), {"model": "other"}),
    ],
)
def test_what_is_served_is_kept_by_its_name(database: Database, record: Any, changes: dict[str, Any]) -> None:
    kind = type(record)
    with database.writing() as connection:
        made = catalog.create(connection, record, now_ms=NOW)
        assert made.created_ms == NOW
        assert catalog.every(connection, kind) == [made]
        with pytest.raises(RecordRefused, match="already"):
            catalog.create(connection, record, now_ms=NOW)
        after = catalog.change(connection, kind, record.name, **changes)
        assert catalog.get(connection, kind, record.name) == after != made
        with pytest.raises(RecordRefused):
            catalog.change(connection, kind, record.name, name="other")
        assert versions_now(connection)[CATALOG] == 2
        catalog.remove(connection, kind, record.name)
        assert catalog.every(connection, kind) == []
        for gone in (catalog.get, catalog.remove):
            with pytest.raises(RecordMissing):
                gone(connection, kind, record.name)


def test_prices_have_their_time(database: Database) -> None:
    with database.writing() as connection:
        made = create_price(
            connection, Price(id="", model="gpt-*", price={"input": 5}, valid_from_ms=3), now_ms=NOW
        )
        later = create_price(
            connection, Price(id="", model="gpt-*", upstream="far", price={"input": 6}), now_ms=NOW
        )
        assert {one.id for one in every_price(connection)} == {made.id, later.id}
        assert change_price(connection, made.id, valid_until_ms=9).valid_until_ms == 9
        with pytest.raises(RecordRefused):
            change_price(connection, made.id, valid_until_ms=3)
        with pytest.raises(RecordRefused):
            change_price(connection, made.id, id="x")
        delete_price(connection, later.id)
        with pytest.raises(RecordMissing):
            delete_price(connection, later.id)
        assert [one.id for one in every_price(connection)] == [made.id]
        assert versions_now(connection)[PRICES] == 4


def hook(connection: Connection, **fields: Any) -> Webhook:
    wanted = Webhook(**{"id": "", "url": "https://x/hook", "secret": b"sealed", **fields})
    return webhooks.create_webhook(connection, wanted, now_ms=NOW)


def test_a_subject_is_announced_once_to_whoever_wants_it(database: Database) -> None:
    with database.writing() as connection:
        everything, budgets = hook(connection), hook(connection, events=("budget",))
        hook(connection, events=("key",))
        hook(connection, disabled=True)
        assert webhooks.announce(connection, "budget", "team:1/80", {"percent": 80}, now_ms=NOW) == 2
        assert webhooks.announce(connection, "budget", "team:1/80", {"percent": 80}, now_ms=NOW) == 0
        assert {one.webhook_id for one in webhooks.due(connection, now_ms=NOW)} == {everything.id, budgets.id}
        assert WEBHOOKS in versions_now(connection)


def test_a_delivery_is_tried_again_and_given_up_in_the_end(database: Database) -> None:
    with database.writing() as connection:
        found = hook(connection)
        webhooks.announce(connection, "budget", "s", {"a": [1]}, now_ms=NOW)
        (delivery,) = webhooks.due(connection, now_ms=NOW)
        assert delivery.body == {"a": [1]}
        assert webhooks.claim(connection, delivery, until_ms=NOW + 5)
        assert not webhooks.claim(connection, delivery, until_ms=NOW + 5), "another process has it"
        assert webhooks.due(connection, now_ms=NOW) == []
        now_ms, tries = NOW, 0
        while True:
            webhooks.failed(connection, delivery.id, "503", now_ms=now_ms)
            tries += 1
            (told,) = webhooks.list_deliveries(connection, found.id).items
            assert (told.tries, told.failure) == (tries, "503")
            if told.next_ms is None:
                break
            assert told.next_ms == now_ms + webhooks.FIRST_PAUSE_MS * 2 ** (tries - 1)
            now_ms = told.next_ms
        assert tries == webhooks.MOST_TRIES
        assert webhooks.forget_delivered(connection, before_ms=NOW) == 0
        assert webhooks.forget_delivered(connection, before_ms=NOW + 1) == 1


def test_what_was_taken_is_not_due(database: Database) -> None:
    with database.writing() as connection:
        found = hook(connection)
        webhooks.announce(connection, "budget", "s", {}, now_ms=NOW)
        (delivery,) = webhooks.due(connection, now_ms=NOW)
        webhooks.delivered(connection, delivery.id, now_ms=NOW + 3)
        (told,) = webhooks.list_deliveries(connection, found.id).items
        assert (told.delivered_ms, told.next_ms, told.tries) == (NOW + 3, None, 1)
        webhooks.delete_webhook(connection, found.id)
        assert webhooks.every_webhook(connection) == []
        assert webhooks.due(connection, now_ms=NOW + 99) == []


@pytest.mark.parametrize(
    "fields", [{"secret": b""}, {"url": "file:///etc/passwd"}, {"url": ""}, {"url": "https://x\r\n"}]
)
def test_a_webhook_that_cannot_be_is_refused(database: Database, fields: dict[str, Any]) -> None:
    with database.writing() as connection:
        if fields.get("url", "").endswith("\n"):
            assert hook(connection, **fields).url == "https://x", "line ends at its end are no part of a URL"
        else:
            with pytest.raises(RecordRefused):
                hook(connection, **fields)


def test_settings_are_kept_by_name(database: Database) -> None:
    with database.writing() as connection:
        assert get_setting(connection, "alerts") is None
        put_setting(connection, "alerts", {"to": ["a"], "n": 3})
        put_setting(connection, "alerts", [None, True])
        put_setting(connection, "other", 1)
        assert every_setting(connection) == {"alerts": [None, True], "other": 1}
        drop_setting(connection, "alerts")
        drop_setting(connection, "alerts")
        assert get_setting(connection, "alerts") is None
        assert versions_now(connection)[SETTINGS] == 4


def test_the_audit_log_tells_who_changed_what(database: Database) -> None:
    with database.writing() as connection:
        note(
            connection, "ada", "create", "key", "key_1", detail={"name": "x"}, request_id="req_1", now_ms=NOW
        )
        note(connection, "ada", "delete", "team", "team_1", now_ms=NOW + 1)
        note(connection, "bob" * 100, "delete", "key", "key_1", detail={"long": "x" * 70_000}, now_ms=NOW + 2)
        assert [one.action for one in list_audit(connection, kind="key", object_id="key_1").items] == [
            "delete",
            "create",
        ]
        last, middle, first = list_audit(connection).items
        assert (first.actor, first.detail, first.request_id) == ("ada", {"name": "x"}, "req_1")
        assert (last.detail, len(last.actor)) == ({"truncated": True}, 128)
        page = list_audit(connection, limit=2)
        assert page.items == (last, middle)
        assert list_audit(connection, limit=2, cursor=page.next_cursor).items == (first,)
        assert forget_audit(connection, before_ms=NOW + 1) == 1
