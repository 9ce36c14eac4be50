"""The running application: what a reload changes, what a kill leaves behind, what a start that fails says."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from headgate import app
from headgate.app import Announcement, ListenFailed, tls_context
from headgate.core.errors import SettingsError
from headgate.core.ports import Outcome
from headgate.core.settings import Engine, File, Settings
from headgate.core.settings import Server as ServerSettings
from headgate.store.journal import FileJournal
from tests.gates import RunningGate, wait_until
from tests.models.bigram import write_bigram
from tests.store.records import fill, open_one, outcomes, sound

StartGate = Callable[..., RunningGate]
OFF = "starter.enabled = false\n"
ALONE = OFF + '[[upstream]]\nname = "far"\nbase_url = "http://127.0.0.1:9"\nmodels = ["m"]\n'
"""One upstream that nobody asks."""


@contextmanager
def asked(gate: RunningGate, **fields: object) -> Iterator[HTTPResponse]:
    """One chat request; the reply is for the block to read."""
    connection = HTTPConnection("127.0.0.1", gate.port, timeout=60)
    body = {"model": "bigram", "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"authorization": f"Bearer {gate.key}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body | fields), headers)
    with closing(connection), connection.getresponse() as reply:
        yield reply


def models(gate: RunningGate, key: str = "") -> list[str] | int:
    """The models that a key sees, or the status with which it is refused."""
    connection = HTTPConnection("127.0.0.1", gate.port, timeout=60)
    connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {key or gate.key}"})
    reply = connection.getresponse()
    listed = json.loads(reply.read())
    connection.close()
    return [model["id"] for model in listed["data"]] if reply.status == 200 else reply.status


def engine(path: Path, **more: str) -> str:
    """A configuration with one engine."""
    lines = "".join(f"{name} = {value}\n" for name, value in more.items())
    return f'{OFF}[[engine]]\nname = "bigram"\nmodel = "{path}"\nslots = 1\nthreads = 1\n{lines}'


# --- reload -----------------------------------------------------------------------------------------


def test_a_reload_takes_an_engine_away_without_cutting_its_streams(
    start_gate: StartGate, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path / "endless.gguf"
    write_bigram(path, "all work and no play\n", endless=True)
    sockets = tmp_path_factory.mktemp("r")  # a path short enough for a socket's
    gate = start_gate(engine(path, context_tokens="8192"), environment={"XDG_RUNTIME_DIR": str(sockets)})
    with asked(gate, stream=True, max_tokens=8000, logprobs=True, top_logprobs=20) as reply:
        # Some megabytes that nobody reads yet: the engine stands still in the middle of its stream.
        assert reply.status == 200
        assert reply.readline().startswith(b"data: {")
        gate.reload(ALONE + '[aliases]\nx = "y"\n')
        wait_until(lambda: "configuration not changed" in gate.log, "the refusal of a wrong configuration")
        assert models(gate) == ["bigram"]
        gate.reload(ALONE)
        wait_until(lambda: models(gate) == ["m"], "the new configuration")
        assert list(sockets.iterdir()), "the engine is still needed"
        body = reply.read()
    assert body.endswith(b"data: [DONE]\n\n")
    assert body.count(b"\n\ndata: ") > 7000
    wait_until(lambda: not list(sockets.iterdir()), "the engine to leave")
    with asked(gate) as reply:
        assert reply.status == 404


def test_a_reload_starts_an_eager_engine(start_gate: StartGate, tmp_path: Path) -> None:
    path = tmp_path / "bigram.gguf"
    write_bigram(path, "Hello.")
    gate = start_gate(ALONE)
    gate.reload(engine(path, eager="true", context_tokens="256"))
    wait_until(lambda: "bigram: ready after" in gate.log, "the engine")
    with asked(gate) as reply:
        assert reply.status == 200
        assert json.loads(reply.read())["choices"][0]["message"]["content"] == "Hello."


def test_a_damaged_key_file_keeps_the_old_key_and_the_rest_is_reloaded(start_gate: StartGate) -> None:
    gate = start_gate(ALONE, key=None)
    found = re.search(r"sk-hg-\S+", gate.printed)
    assert found
    key = found[0].strip("'\"")
    assert models(gate, key) == ["m"]
    [stored] = [path for path in (gate.folder / "data").glob("*") if "master" in path.name]
    stored.write_text("{")
    gate.reload(ALONE.replace('["m"]', '["m", "n"]'))
    wait_until(lambda: models(gate, key) == ["m", "n"], "the new configuration")
    assert "is damaged" in gate.log
    assert key not in gate.log


def test_a_reload_changes_limits_of_open_connections(start_gate: StartGate) -> None:
    gate = start_gate(ALONE)
    connection = HTTPConnection("127.0.0.1", gate.port, timeout=60)

    def status_of_a_large_head() -> int:
        connection.request("GET", "/healthz", headers={"x": "y" * 5000})
        reply = connection.getresponse()
        reply.read()
        return reply.status

    assert status_of_a_large_head() == 200
    gate.reload(ALONE + "[server]\nheader_bytes = 1024\n")
    wait_until(lambda: status_of_a_large_head() == 431, "the new limit")
    connection.close()


# --- what an earlier run left -----------------------------------------------------------------------


def test_attempts_of_a_run_that_was_killed_are_reported_and_settled(
    start_gate: StartGate, tmp_path: Path
) -> None:
    gate = start_gate(ALONE)
    gate.kill()
    journal = FileJournal.start(gate.folder / "data" / "journal")
    fill(journal, 3)
    left = [open_one(journal) for _ in range(12)]
    journal.stop()
    (tmp_path / "gate-2").mkdir()
    (gate.folder / "data").rename(tmp_path / "gate-2" / "data")
    again = start_gate(ALONE)
    assert "journal: 12 attempts ended with an earlier run, as unknown: " in again.log
    assert f"{left[0]}, {left[1]}, " in again.log
    assert f"{left[9]} ..." in again.log
    again.stop()
    found = outcomes(sound(again.folder / "data" / "journal"))
    assert [[end.outcome for end in found[attempt]] for attempt in left] == [[Outcome.UNKNOWN]] * 12


def test_damage_in_the_journal_is_told_and_does_not_stop_the_gate(
    start_gate: StartGate, tmp_path: Path
) -> None:
    folder = tmp_path / "gate-1" / "data"
    folder.mkdir(parents=True, mode=0o700)
    made = FileJournal.start(folder / "journal")
    fill(made, 10)
    made.stop()
    [segment] = sorted((folder / "journal").glob("*.journal"))[:1]
    data = bytearray(segment.read_bytes())
    data[4096 + 300] ^= 0xFF
    segment.write_bytes(data)
    gate = start_gate(ALONE)
    assert "journal: " in gate.log
    assert models(gate) == ["m"]
    gate.stop()
    assert len(list((folder / "journal").glob("*.damaged"))) == 1


# --- starting ---------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _spared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_spare_the_collector", lambda: None)  # the tests' own garbage is another matter


def never(announcement: Announcement) -> None:
    raise AssertionError(announcement)


def serve(settings: Settings, folder: Path) -> None:
    app.serve(settings, folder, None, announce=never, reload=lambda: settings)


@pytest.mark.parametrize(
    ("host", "reason"),
    [("192.0.2.1", "Cannot assign requested address"), ("no such host", "the name is not known")],
)
def test_an_address_that_cannot_be_listened_on(tmp_path: Path, host: str, reason: str) -> None:
    with pytest.raises(ListenFailed) as raised:
        serve(Settings(server=ServerSettings(host=host, port=0)), tmp_path)
    assert str(raised.value) == f"cannot listen on {host}:0: {reason}"
    assert not [path for path in tmp_path.iterdir() if "master" in path.name], "no key was made"


def test_a_start_that_fails_leaves_no_engine_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "r"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    path = tmp_path / "bigram.gguf"
    write_bigram(path, "Hello.")
    made = Engine(name="bigram", model=File(path), eager=True)
    with pytest.raises(ListenFailed):
        serve(Settings(server=ServerSettings(host="192.0.2.1", port=0), engines=(made,)), tmp_path / "data")
    assert list(runtime.iterdir()) == []


def test_no_tls_without_files() -> None:
    assert tls_context(ServerSettings()) is None


def test_tls_from_files(tmp_path: Path) -> None:
    cert = trustme.CA().issue_cert("localhost")
    cert.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    both = File(tmp_path / "both.pem")
    context = tls_context(ServerSettings(tls_cert_file=both, tls_key_file=both))
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("broken", ["not PEM", "another's key", "a folder", "missing", "with a password"])
def test_tls_files_that_cannot_be_used(tmp_path: Path, broken: str) -> None:
    authority = trustme.CA()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.issue_cert("localhost").cert_chain_pems[0].write_to_path(cert)
    authority.issue_cert("localhost").private_key_pem.write_to_path(key)
    if broken == "not PEM":
        key.write_text("nothing")
    elif broken == "a folder":
        key.unlink()
        key.mkdir()
    elif broken == "missing":
        key.unlink()
    elif broken == "with a password":
        locked = load_pem_private_key(key.read_bytes(), None)
        password = BestAvailableEncryption(b"secret")
        key.write_bytes(locked.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, password))
    with pytest.raises(SettingsError) as raised:
        tls_context(ServerSettings(tls_cert_file=File(cert), tls_key_file=File(key)))
    assert str(raised.value).startswith("server.tls_cert_file, server.tls_key_file: ")
    assert "PRIVATE KEY" not in str(raised.value)
