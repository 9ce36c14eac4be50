"""Money in a real gate: configured prices, budgets of the database, webhooks, kill -9 in between."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from headgate.core.limit import Budget, Limits
from headgate.core.money import Ratio
from headgate.store.balances import post
from headgate.store.budgets import set_budget
from headgate.store.calendar import Calendar
from headgate.store.carriage import journal_identity
from headgate.store.database import Database, place
from headgate.store.key_records import create_key
from headgate.store.records import Key, Team, Webhook
from headgate.store.seal import load_seal
from headgate.store.spending import Spending
from headgate.store.teams import create_team
from headgate.store.webhooks import create_webhook, new_webhook_id
from tests.gates import RunningGate, open_gate, wait_until
from tests.services import redis
from tests.store.records import outcomes, sound

StartGate = Callable[..., RunningGate]
REPLY = json.dumps(
    {
        "id": "1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    }
).encode()
COST = 100 * 2 + 10 * 10
"""Nano-dollars of that reply, by the prices below."""
HELD = 120
"""About what is reserved for one: 9 tokens in, 10 out."""
SECRET = b"a secret of the operator's and the receiver's"


class Receiver(BaseHTTPRequestHandler):
    """An upstream, and whoever takes webhooks: both answer 200 and keep what they got."""

    protocol_version = "HTTP/1.1"
    got: ClassVar[list[tuple[dict[str, str], bytes]]] = []
    stuck = threading.Event()
    asked = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        hook = self.path == "/hook?x=1"
        if hook:
            self.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        else:
            self.asked.set()
            if b"stay" in body:
                self.stuck.wait(60)
        reply = b"" if hook else REPLY
        self.send_response(503 if hook and len(self.got) == 1 else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def receiver() -> Iterator[int]:
    Receiver.got, Receiver.stuck, Receiver.asked = [], threading.Event(), threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield int(server.server_address[1])
    Receiver.stuck.set()
    server.shutdown()
    server.server_close()
    thread.join()


def toml(port: int, more: str = "") -> str:
    return f"""
        starter.enabled = false
        [[upstream]]
        name = "far"
        base_url = "http://127.0.0.1:{port}/v1"
        models = ["m"]
        [[price]]
        model = "m"
        input = "0.002"
        output = "0.01"
        {more}
    """


@contextmanager
def books(folder: Path) -> Iterator[Database]:
    database = Database(place(folder, None))
    try:
        yield database
    finally:
        database.close()


def make_key(folder: Path, *budgets: Budget, team: dict[str, Any] | None = None, **fields: Any) -> str:
    now_ms = time.time_ns() // 1_000_000
    with books(folder) as database, database.writing() as connection:
        if team is not None:
            fields["team_id"] = create_team(connection, Team(id="", name="them", **team), now_ms=now_ms).id
            post(connection, fields["team_id"], "credit", 1000, now_ms=now_ms)
        key, secret = create_key(connection, Key(id="", name="caller", **fields), now_ms=now_ms)
        for budget in budgets:
            set_budget(connection, f"key:{key.id}", budget, now_ms=now_ms)
    return secret


def ask(gate: RunningGate, key: str, text: str = "Hi", **fields: Any) -> tuple[int, dict[str, str], Any]:
    connection = HTTPConnection("127.0.0.1", gate.port, timeout=60)
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": 10} | fields
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    reply = connection.getresponse()
    told = (
        reply.status,
        {name.lower(): value for name, value in reply.getheaders()},
        json.loads(reply.read()),
    )
    connection.close()
    return told


def known(gate: RunningGate, key: str) -> bool:
    connection = HTTPConnection("127.0.0.1", gate.port, timeout=60)
    connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {key}"})
    status = connection.getresponse().status
    connection.close()
    return status == 200


def test_a_models_limits_count_for_all_callers(start_gate: StartGate, receiver: int) -> None:
    gate = start_gate(toml(receiver, '[limits.models."m*"]\nrequests_per_day = 2\ntokens_per_minute = 9000'))
    status, headers, _ = ask(gate, gate.key)
    assert status == 200
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("2", "1")
    assert ask(gate, gate.key)[0] == 200
    status, headers, body = ask(gate, gate.key)
    assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(headers["retry-after-ms"]) > 40_000_000
    gate.kill()
    more = '[limits.models."m*"]\nrequests_per_day = 2'
    with open_gate(gate.folder, toml(receiver, more)) as again:
        assert ask(again, again.key)[0] == 429, "rates outlive the process"


def test_a_budget_outlives_the_process(start_gate: StartGate, receiver: int) -> None:
    gate = start_gate(toml(receiver))
    data = gate.folder / "data"
    key = make_key(data, Budget(amount_nanodollars=2 * COST + HELD * 3 // 2, period="month"))
    wait_until(lambda: known(gate, key), "the key to be known")
    assert ask(gate, key)[0] == 200
    gate.stop()
    with open_gate(gate.folder, toml(receiver)) as second:
        assert ask(second, key)[0] == 200
        thread = threading.Thread(target=lambda: swallow(second, key))
        Receiver.asked.clear()
        thread.start()
        assert Receiver.asked.wait(30)
        second.kill()
        thread.join()
    with open_gate(gate.folder, toml(receiver)) as third:
        # Two are paid for; what the killed one had reserved is settled as unknown.
        status, headers, body = ask(third, key)
        assert (status, body["error"]["code"]) == (429, "insufficient_quota")
        assert headers["x-should-retry"] == "false"


def swallow(gate: RunningGate, key: str) -> None:
    try:
        ask(gate, key, "stay")
    except OSError:
        pass  # killed, as it should be


def test_a_balance_is_spent_and_topped_up_while_the_gate_runs(start_gate: StartGate, receiver: int) -> None:
    gate = start_gate(toml(receiver))
    data = gate.folder / "data"
    key = make_key(data, team={"prepaid": True, "multipliers": {"m": Ratio(2)}})
    wait_until(lambda: known(gate, key), "the key to be known")
    # Each comes to twice the cost; the second passes by what it had not reserved.
    assert [ask(gate, key)[0] for _ in range(3)] == [200, 200, 429]
    assert ask(gate, key)[2]["error"]["code"] == "insufficient_quota"
    with books(data) as database, database.writing() as connection:
        team_id = connection.exec_driver_sql("select id from teams").scalar_one()
        post(connection, team_id, "credit", 2 * COST, now_ms=1)
    wait_until(lambda: ask(gate, key)[0] == 200, "the credit to count")
    assert ask(gate, key)[0] == 429


def test_a_threshold_is_told_to_a_webhook_that_fails_first(start_gate: StartGate, receiver: int) -> None:
    gate = start_gate(toml(receiver))
    data = gate.folder / "data"
    hook_id = new_webhook_id()
    sealed = load_seal(data, None).close(SECRET, f"webhook:{hook_id}")
    url = f"http://127.0.0.1:{receiver}/hook?x=1"
    with books(data) as database, database.writing() as connection:
        create_webhook(connection, Webhook(id=hook_id, url=url, secret=sealed), now_ms=1)
    budget = Budget(amount_nanodollars=COST, period="day", hard=False, warn_percent=(100,))
    key = make_key(data, Budget(amount_nanodollars=10**12, warn_percent=(1,)), budget)
    wait_until(lambda: known(gate, key), "the key to be known")
    assert ask(gate, key)[0] == 200
    wait_until(lambda: len(Receiver.got) >= 2, "a second try")
    (first, body), (second, again) = Receiver.got[:2]
    assert body == again
    assert first["webhook-id"] == second["webhook-id"]
    signed = f"{second['webhook-id']}.{second['webhook-timestamp']}.".encode() + again
    expected = base64.b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).decode()
    assert second["webhook-signature"] == f"v1,{expected}"
    told = json.loads(again)
    assert told["type"] == "budget.threshold"
    assert (told["data"]["percent"], told["data"]["spent_nanodollars"]) == (100, COST)


def test_limits_of_a_key_in_the_database_count(start_gate: StartGate, receiver: int) -> None:
    gate = start_gate(toml(receiver))
    key = make_key(gate.folder / "data", limits=Limits(tokens_per_request=20))
    wait_until(lambda: known(gate, key), "the key to be known")
    status, headers, body = ask(gate, key, max_tokens=1000)
    assert (status, body["error"]["type"]) == (429, "tokens")
    assert headers["x-should-retry"] == "false"


def test_counters_in_redis_that_is_away_refuse(start_gate: StartGate, receiver: int) -> None:
    more = '[limits]\nredis = { env = "PLACE" }\nmodels.m.requests_per_day = 5'
    gate = start_gate(toml(receiver, more), environment={"PLACE": "redis://:s3cret@127.0.0.1:9"})
    status, _, body = ask(gate, gate.key)
    assert (status, body["error"]["type"]) == (503, "api_error")
    assert "s3cret" not in gate.log


def test_two_gates_that_share_redis_share_a_limit(
    start_gate: StartGate, receiver: int, tmp_path: Path
) -> None:
    more = (
        '[limits]\nredis = { env = "PLACE" }\nmodels.m.requests_per_day = 5\nmodels.m.concurrent_requests = 9'
    )
    with redis(tmp_path / "redis") as server:
        gates = [start_gate(toml(receiver, more), environment={"PLACE": server.url}) for _ in range(2)]
        statuses: list[int] = []

        def crowd(gate: RunningGate) -> None:
            statuses.extend(ask(gate, gate.key)[0] for _ in range(6))

        threads = [threading.Thread(target=crowd, args=(gate,)) for gate in gates]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200] * 5 + [429] * 7
        for gate in gates:
            gate.stop()


def test_after_kills_every_attempt_has_one_end_and_the_ledger_is_their_sum(
    tmp_path: Path, receiver: int
) -> None:
    with ExitStack() as stack:
        storm(stack, stack.enter_context(open_gate(tmp_path / "gate", toml(receiver))), receiver)


def storm(stack: ExitStack, gate: RunningGate, receiver: int) -> None:
    data = gate.folder / "data"
    key = make_key(data, Budget(amount_nanodollars=10**9), limits=Limits(concurrent_requests=6))
    wait_until(lambda: known(gate, key), "the key to be known")
    answered = 0
    for _ in range(3):
        done: list[int] = []
        threads = [threading.Thread(target=keep_asking, args=(gate, key, done, text)) for text in TEXTS]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(done) >= 40, "some answers")  # noqa: B023 - it is over before the next round
        gate.kill()
        Receiver.stuck.set()
        for thread in threads:
            thread.join()
        answered += len(done)
        Receiver.stuck.clear()
        gate = stack.enter_context(open_gate(gate.folder, toml(receiver)))
    # Nothing stays held: as many as are allowed at once get through together.
    Receiver.stuck.set()
    assert all_at_once(gate, key, 6) == [200] * 6
    gate.stop()
    records = sound(data / "journal")
    ends = outcomes(records)
    assert all(len(closed) == 1 for closed in ends.values())
    charges = [closed[0].charge.price_nanodollars for closed in ends.values()]
    assert charges.count(COST) >= answered + 6
    with books(data) as database:
        identity = journal_identity(data / "journal")
        spending = Spending(database, data / "journal", identity, Calendar())
        with database.reading() as connection:
            key_id = connection.exec_driver_sql("select id from keys").scalar_one()
        assert asyncio.run(spending.spent(f"key:{key_id}", 0)) == sum(charges)


TEXTS = ("Hi", "Ho", "He", "stay")


def keep_asking(gate: RunningGate, key: str, done: list[int], text: str) -> None:
    """Asks until the gate is gone; what was answered whole is noted."""
    try:
        while True:
            status = ask(gate, key, text)[0]
            assert status in (200, 429)
            if status == 200:
                done.append(status)
    except (OSError, HTTPException, ValueError):
        pass  # killed, as it should be


def all_at_once(gate: RunningGate, key: str, count: int) -> list[int]:
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(ask(gate, key)[0])) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses
