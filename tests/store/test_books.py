"""Real gates with their books: keys of the database open, revoked ones die, every attempt arrives."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from headgate.core.ports import Outcome
from headgate.store.database import URL_VARIABLE, Database, place
from headgate.store.entries import Filter, list_entries
from headgate.store.key_records import change_key, create_key
from headgate.store.records import Key
from tests.backends.scripted import Line, scripted
from tests.conftest import run, unused_port
from tests.gates import RunningGate, open_gate, wait_until
from tests.gateway.house import answer, whole
from tests.services import PostgreSQL
from tests.store.attempts import carried, expect_sums, truth

NOW = 1_800_000_000_000


async def answers(line: Line) -> None:
    while True:
        await line.request()
        await line.send(whole(answer("one two", 30, 12)))


def toml(port: int) -> str:
    return f"""
        starter.enabled = false
        [[upstream]]
        name = "far"
        base_url = "http://127.0.0.1:{port}"
        models = ["m"]
    """


def ask(gate: RunningGate, key: str) -> int:
    """Asks once; the status that was answered."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{gate.url}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            reply.read()
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    """A database's URL for a gate; None for its own SQLite."""
    if request.param == "sqlite":
        return None
    server: PostgreSQL = request.getfixturevalue("postgres")
    return server.create(f"gate_{time.monotonic_ns()}")


@contextmanager
def opened(folder: Path, port: int, url: str | None) -> Iterator[tuple[RunningGate, Database]]:
    """A gate, and another process's way to its database."""
    with open_gate(folder, toml(port), environment={URL_VARIABLE: url} if url else None) as gate:
        database = Database(place(folder / "data", url))
        try:
            yield gate, database
        finally:
            database.close()


def test_keys_entries_and_a_kill(tmp_path: Path, url: str | None) -> None:
    def first_life(port: int) -> tuple[str, str]:
        with opened(tmp_path, port, url) as (gate, database):
            with database.writing() as connection:
                made, secret = create_key(connection, Key(id="", name="k"), now_ms=NOW)
            wait_until(lambda: ask(gate, secret) == 200, "the new key to open")
            for _ in range(10):
                assert ask(gate, secret) == 200
            wait_until(lambda: len(carried(database)) >= 11, "the journal to be carried")
            # Whoever carries is killed too, now and then: it comes back by itself.
            for child in children(gate.process.pid):
                os.kill(child, signal.SIGKILL)
            for _ in range(5):
                assert ask(gate, secret) == 200
            wait_until(lambda: len(carried(database)) >= 16, "another carrier")
            assert ask(gate, secret) == 200
            gate.kill()
        return made.id, secret

    def second_life(port: int, key_id: str, secret: str) -> None:
        with opened(tmp_path, port, url) as (gate, database):
            assert ask(gate, secret) == 200, "known from the start"
            with database.writing() as connection:
                change_key(connection, key_id, disabled=True)
            wait_until(lambda: ask(gate, secret) == 401, "the key to die")
            gate.stop()
            expected = truth(tmp_path / "data")
            assert carried(database) == Counter(expected.keys())
            expect_sums(database)
            with database.reading() as connection:
                found = list_entries(connection, Filter(from_ms=0, to_ms=2**50), limit=1000).items
        assert {entry.key for entry in found} == {key_id}
        ended = Counter(entry.outcome for entry in found)
        assert ended.keys() == {Outcome.OK}
        assert {(entry.usage.input_tokens, entry.usage.output_tokens) for entry in found} == {(30, 12)}
        assert {(entry.target, entry.model, entry.endpoint) for entry in found} == {
            ("far/m", "m", "chat.completions")
        }

    async def main() -> None:
        async with scripted(answers) as upstream:
            key_id, secret = await asyncio.to_thread(first_life, upstream.port)
            await asyncio.to_thread(second_life, upstream.port, key_id, secret)

    run(main(), timeout_s=150)


def test_a_gate_whose_database_is_away_says_so_and_ends(tmp_path: Path) -> None:
    away = f"postgresql://headgate@127.0.0.1:{unused_port()}/none"
    with ExitStack() as stack, pytest.raises(AssertionError, match="the database cannot be used"):
        stack.enter_context(open_gate(tmp_path, toml(1), environment={URL_VARIABLE: away}))


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    found = Path(f"/proc/{process}/task/{process}/children")
    return [int(number) for number in found.read_text().split()]
