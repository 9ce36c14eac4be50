"""The engine's own program, run as an operator would run it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from headgate.engines.llamacpp import main
from tests.conftest import unused_port
from tests.engines.running import is_healthy, running_engine, wait_until
from tests.models.bigram import write_bigram

CHAT = json.dumps({"messages": [{"role": "user", "content": "hi"}]})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bigram(tmp_path_factory.mktemp("m") / "bigram.gguf")


@contextmanager
def program(*options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The program with these options; it is killed at the end of the block."""
    command = [sys.executable, "-m", "headgate", "engine", "llamacpp", *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, **environment},
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


def ask(port: int, path: str, key: str | None = None, method: str = "POST") -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    connection.request(method, path, CHAT if method == "POST" else None, headers)
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply.status, data


def test_a_port_asks_for_the_key_that_was_made(model: Path) -> None:
    port = unused_port()
    with program(f"--model={model}", f"--port={port}") as process:
        first, *_ = lines_until_listening(process)
        key = first.removeprefix("clients must send this key, made for this start: ")
        assert key.startswith("sk-")
        assert len(key) > 40
        assert ask(port, "/v1/chat/completions")[0] == 401
        assert ask(port, "/v1/chat/completions", "sk-wrong")[0] == 401
        status, data = ask(port, "/v1/chat/completions", key)
        assert status == 200
        reply = json.loads(data)
        # Named after the file, not with its path.
        assert reply["model"] == "bigram"
        assert reply["choices"][0]["message"]["content"] == "Hello from a bigram."
        for path in ("/slots", "/props", "/metrics", "/lora-adapters", "/tools"):
            assert ask(port, path, None, "GET")[0] in (401, 403, 404)
        # Other people's prompts are nobody's business, and there is no page to click on.
        assert ask(port, "/slots", key, "GET")[0] == 501
        assert ask(port, "/", key, "GET")[0] == 404


def test_a_key_from_the_environment(model: Path) -> None:
    port = unused_port()
    with program(
        f"--model={model}", f"--port={port}", "--api-key-env=THE_KEY", "--alias=x/y", THE_KEY="sk-own"
    ) as process:
        assert not [line for line in lines_until_listening(process) if "sk-own" in line]
        status, data = ask(port, "/v1/chat/completions", "sk-own")
        assert (status, json.loads(data)["model"]) == (200, "x/y")
        assert process.stdout
        process.terminate()
        assert "sk-own" not in process.stdout.read()


def test_a_socket_is_its_owner_s_alone(model: Path) -> None:
    with running_engine(model) as engine:
        mode = Path(engine.socket_path).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) & 0o077 == 0
        assert engine.chat()[1]["choices"][0]["message"]["content"] == "Hello from a bigram."


def output_of(capfd: pytest.CaptureFixture[str], arguments: Sequence[str]) -> tuple[int, str]:
    code = main(list(arguments))
    return code, "".join(capfd.readouterr())


def test_what_cannot_be_served(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "not.gguf").write_text("GGU")
    (tmp_path / "file.sock").write_text("")
    for arguments, code, words in (
        ([], 2, "Missing option '--model'"),
        (["--model=x.gguf", "--slots=0"], 2, "Invalid value for '--slots'"),
        (["--model=nowhere.gguf"], 1, "nowhere.gguf: No such file"),
        ([f"--model={tmp_path}/not.gguf"], 1, "not a GGUF file"),
        ([f"--model={model}", f"--mmproj={model}"], 1, "not a projector"),
        ([f"--model={model}", "--api-key-env=NO_SUCH_VARIABLE"], 1, "the variable is not set"),
        ([f"--model={model}", f"--socket={tmp_path}/x"], 1, "ends in .sock"),
        ([f"--model={model}", f"--socket={tmp_path}/file.sock"], 1, "exists and is no socket"),
        ([f"--model={model}", f"--socket={tmp_path}/no/x.sock"], 1, "llama.cpp cannot serve"),
    ):
        umask = os.umask(0o022)
        try:
            found, output = output_of(capfd, arguments)
        finally:
            os.umask(umask)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        assert (found, words in output) == (code, True), (arguments, output)
        assert "Traceback" not in output


def test_two_at_one_place(model: Path, tmp_path: Path) -> None:
    place = tmp_path / "one.sock"
    with program(f"--model={model}", f"--socket={place}") as first:
        lines_until_listening(first)
        with program(f"--model={model}", f"--socket={place}") as second:
            output, _ = second.communicate(timeout=60)
            assert second.returncode == 1
            assert "another process listens there" in output
        assert is_healthy(str(place))
        # What a dead one leaves behind is in nobody's way.
        first.kill()
        first.wait()
        assert place.exists()
    with program(f"--model={model}", f"--socket={place}") as third:
        lines_until_listening(third)
        assert is_healthy(str(place))


def test_sigterm_ends_it(model: Path, tmp_path: Path) -> None:
    with program(f"--model={model}", f"--socket={tmp_path}/x.sock") as process:
        lines_until_listening(process)
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM


def test_it_outlives_its_terminal_but_not_its_supervisor(model: Path, tmp_path: Path) -> None:
    place = tmp_path / "x.sock"
    with program(f"--model={model}", f"--socket={place}") as process:
        lines_until_listening(process)
        assert process.stdin
        process.stdin.close()
        assert is_healthy(str(place))
        process.stdin = None
    with program(f"--model={model}", f"--socket={place}", "--supervised") as process:
        lines_until_listening(process)
        assert process.stdin
        process.stdin.close()
        process.stdin = None
        assert process.wait(30) == 0
        assert not place.exists()


def test_it_dies_with_a_supervisor_that_was_killed(model: Path, tmp_path: Path) -> None:
    place = tmp_path / "x.sock"
    parent = (
        "import subprocess, sys, time\n"
        "process = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    words = [
        sys.executable,
        "-m",
        "headgate.engines.llamacpp",
        f"--model={model}",
        f"--socket={place}",
        "--supervised",
    ]
    with subprocess.Popen(
        [sys.executable, "-c", parent, *words], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        try:
            wait_until(lambda: is_healthy(str(place)), 60)
        finally:
            process.kill()
    wait_until(lambda: not alive(child))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that nobody has buried yet is dead.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_slots_and_context_are_as_told(model: Path) -> None:
    with running_engine(model, "--slots=3", "--context=512") as engine:
        status, reply = engine.chat(messages=[{"role": "user", "content": "x" * 600}])
        assert status == 400
        assert reply["error"]["n_ctx"] == 512
        assert engine.chat(n=3)[0] == 200
        assert engine.chat(n=4)[0] == 400
