"""An engine's own process: where it listens, whom it lets in, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headgate.hosting import HOSTED, main
from tests.conftest import unused_port
from tests.engines.hosted import hosted
from tests.engines.running import RunningEngine, wait_until

LONG = {"model": "tts", "input": "word " * 800, "voice": "alloy", "response_format": "flac"}


@contextmanager
def program(*options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The speech engine with these options; it is killed at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "headgate", "engine", "speech", "--alias=tts", *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | environment,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def lines_until_listening(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout
    lines: list[str] = []
    while not lines or not lines[-1].startswith("listening on"):
        line = process.stdout.readline()
        assert line, lines
        lines.append(line.strip())
    return lines


def ask(
    port: int, key: str | None = None, path: str = "/v1/models", body: Any = None
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply.status, json.loads(data)


def test_a_port_asks_for_the_key_that_was_made() -> None:
    port = unused_port()
    with program(f"--port={port}") as process:
        first, last = lines_until_listening(process)
        key = first.removeprefix("clients must send this key, made for this start: ")
        assert key.startswith("sk-")
        assert last == f"listening on http://127.0.0.1:{port}"
        assert ask(port, path="/health") == (200, {"status": "ok"})
        for wrong in (None, "sk-wrong", key[:-1], key + "x"):
            status, reply = ask(port, wrong)
            assert (status, reply["error"]["code"]) == (401, "invalid_api_key")
            assert ask(port, wrong, "/v1/audio/speech", LONG)[0] == 401
        status, reply = ask(port, key)
        assert (status, [model["id"] for model in reply["data"]]) == (200, ["tts"])
        assert ask(port, key, "/v1/chat/completions", {"model": "tts"})[0] == 404


def test_a_key_may_come_from_a_variable() -> None:
    with program("--port=0", "--api-key-env=THE_KEY", THE_KEY="sk-chosen") as process:
        (last,) = lines_until_listening(process)
        assert ask(int(last.rsplit(":", 1)[1]), "sk-chosen")[0] == 200
    with program("--port=0", "--api-key-env=NOT_SET") as process:
        assert process.stdout
        assert "the variable is not set" in process.stdout.read()
        assert process.wait(30) == 1


def test_a_place_that_is_taken_is_told(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as holder,
        program(f"--port={holder.getsockname()[1]}") as process,
    ):
        assert process.stdout
        assert "cannot listen" in process.stdout.read()
        assert process.wait(30) == 1
    (tmp_path / "x.sock").touch()
    with program(f"--socket={tmp_path / 'x.sock'}") as process:
        assert process.stdout
        assert "exists and is no socket" in process.stdout.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(number: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "e.sock"
    with program(f"--socket={path}") as process:
        lines_until_listening(process)
        assert path.stat().st_mode & 0o077 == 0
        process.send_signal(number)
        assert process.wait(30) == 0
    assert not path.exists()


def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    path = tmp_path / "e.sock"
    with program(f"--socket={path}", "--supervised") as process:
        lines_until_listening(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(30) == 0
    assert not path.exists()


def test_more_than_it_may_hold_is_refused_with_a_time_to_come_back() -> None:
    with hosted("speech", "--alias=tts", "--limit=1") as engine:
        slow = begin(engine)
        reply = slow.getresponse()
        assert reply.read(1), "it is under way, and nobody reads on"
        connection = engine.begin("/v1/audio/speech", LONG)
        refused = connection.getresponse()
        assert refused.status == 429
        assert json.loads(refused.read())["error"]["code"] == "rate_limit_exceeded"
        assert refused.headers["retry-after"] == "1"
        connection.close()
        slow.close()

        def is_free() -> bool:
            return engine.ask("/v1/audio/speech", {**LONG, "input": "Hi."})[0] == 200

        wait_until(is_free)


def begin(engine: RunningEngine) -> Any:
    """A request for more sound than sockets hold, from someone who reads slowly."""
    connection = engine.begin("/v1/audio/speech", {**LONG, "speed": 0.25, "response_format": "wav"})
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return connection


@pytest.mark.parametrize("name", HOSTED)
def test_help_loads_nothing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert "--socket" in capsys.readouterr().out


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speech", "--nonsense"]) == 2
    assert "--nonsense" in capsys.readouterr().err
