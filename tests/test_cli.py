"""The `headgate` command as a process: what it prints, how it ends, and what it never shows."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headgate import __version__

KEY = "sk-the-upstream-key-nobody-may-see"
MASTER_KEY = "master-key-nobody-may-see"
REFERENCE_BODY = {
    "model": "m",
    "stream": True,
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Hello!"},
    ],
}
"""What the reference page's sample sends."""


def environment(home: Path, **more: str) -> dict[str, str]:
    """A clean one, whose home folder is empty."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADGATE_", "XDG_"))}
    return {**kept, "HOME": str(home), **more}


def headgate(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "headgate", *arguments],
        env=environment(home, **more), cwd=home, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    """The error that a command ended with: one line, and nothing else."""
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("headgate: ")
    return line.removeprefix("headgate: ")


class Gate:
    """A gate that listens, what it said when it began, and a client for it."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self.process = process
        self._errors = errors
        assert process.stdout is not None
        self.greeting = ""
        # The sample is the last thing said; its last line is that of its body.
        while not self.greeting.endswith("\n}'\n"):
            line = process.stdout.readline()
            assert line, f"ended before it listened: {self.errors()}"
            self.greeting += line
        self.url = self.greeting.splitlines()[0].removeprefix("Headgate is open at ")
        self.port = int(self.url.rpartition(":")[2])

    def errors(self) -> str:
        """All of its log until now."""
        return self._errors.read_text()

    def get(self, path: str, key: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers={"authorization": f"Bearer {key}"})
        reply = connection.getresponse()
        body = json.loads(reply.read())
        connection.close()
        return reply.status, body

    def models(self, key: str) -> list[str]:
        status, body = self.get("/v1/models", key)
        assert status == 200, body
        return [model["id"] for model in body["data"]]


@contextmanager
def serving(home: Path, *arguments: str, **more: str) -> Iterator[Gate]:
    """A running gate; told to stop at the end, and expected to do so without complaint."""
    errors = home / f"errors-{time.monotonic_ns()}.txt"
    with errors.open("w") as stderr, subprocess.Popen(
        [sys.executable, "-m", "headgate", "serve", *arguments],
        env=environment(home, **more), cwd=home, stdout=subprocess.PIPE, stderr=stderr, text=True,
    ) as process:  # fmt: skip
        try:
            gate = Gate(process, errors)
            yield gate
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0, gate.errors()
            assert "Traceback" not in gate.errors()
        finally:
            process.kill()


def until(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """A configuration that needs neither an engine nor an upstream that answers."""
    path = tmp_path / "gate.toml"
    path.write_text(
        '[server]\nport = 0\n[[upstream]]\nname = "up"\nbase_url = "http://127.0.0.1:9/v1"\nmodels = ["m"]\n'
        'api_key = { env = "UP_KEY" }\n'
    )
    return path


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield int(holder.getsockname()[1])


# --- usage ----------------------------------------------------------------------------------------------


def test_help_and_version(tmp_path: Path) -> None:
    for arguments in ("", "--help", "-h"):
        result = headgate(tmp_path, *arguments.split())
        assert (result.returncode, result.stderr) == (0, "")
        for command in ("serve", "engine", "doctor", "keys"):
            assert f"\n  {command} " in result.stdout
    version = headgate(tmp_path, "--version")
    assert (version.returncode, version.stdout) == (0, f"headgate, version {__version__}\n")
    for name in ("serve", "engine", "doctor", "keys", "keys master"):
        result = headgate(tmp_path, *name.split(), "--help")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith(f"Usage: headgate {name}")


GATE = {"headgate.app", "headgate.edge", "headgate.gateway", "headgate.backends", "headgate.store", "uvloop"}
LOADED = {
    "serve --help": {"asyncio", "ssl", "httptools", "xllamacpp", *GATE},
    "engine llamacpp --help": {"httptools", *GATE},
    "serve": {"xllamacpp", "headgate.engines.llamacpp"},
    "doctor": {"xllamacpp"},
}
"""Commands, and what they may not load: help is quick, and engine and gate know nothing of each other."""


@pytest.mark.parametrize("command", LOADED)
def test_a_command_loads_only_what_it_needs(
    command: str, tmp_path: Path, configuration: Path, taken_port: int
) -> None:
    code = "import sys, headgate.cli\ntry:\n    headgate.cli.main()\nfinally:\n    print(*sys.modules)"
    # The port is taken, so that `serve` ends when it has everything.
    result = subprocess.run(
        [sys.executable, "-c", code, *command.split()],
        env=environment(tmp_path, HEADGATE_PORT=str(taken_port), HEADGATE_CONFIG="gate.toml", UP_KEY=KEY),
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    loaded = set(result.stdout.split())
    assert "headgate.cli" in loaded
    if command == "serve":
        assert loaded >= GATE
    assert not loaded & LOADED[command]


WRONG_USAGE = {
    "sevre": "No such command 'sevre'",
    "serve --prot 1": "No such option '--prot'",
    "serve extra": "Got unexpected extra argument (extra)",
    "serve --port 65536": "65536 is not in the range 0<=x<=65535",
    "serve --port x": "'x' is not a valid integer",
    "serve --workers 0": "0 is not in the range x>=1",
    "serve --workers 2": "--workers 2 needs shared counters (Redis/Valkey), which this version does not have",
    "serve --config missing.toml": "missing.toml: no such file or directory",
    "serve --config .": ".: is a directory",
    "serve --model missing.gguf": "'missing.gguf' does not exist",
    "serve --tls-cert gate.toml": "--tls-cert and --tls-key go together",
    "serve --host=": "--host: expected an address to listen on, got an empty string",
    "serve --data gate.toml": "'gate.toml' is a file",
    "engine": "Missing argument",
    "engine llama": "'llama' is not 'llamacpp'",
    "keys": "Missing command",
    "keys master": "the key is kept hashed and cannot be shown; --rotate makes a new one",
    "doctor --port x": "'x' is not a valid integer",
}


@pytest.mark.parametrize("command", WRONG_USAGE)
def test_wrong_usage_is_one_line_and_exit_code_2(command: str, tmp_path: Path, configuration: Path) -> None:
    result = headgate(tmp_path, *command.split(), HEADGATE_CONFIG=str(configuration), UP_KEY=KEY)
    assert WRONG_USAGE[command] in one_line(result)
    assert result.returncode == 2


def test_a_pipe_that_closes_early_is_no_traceback(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        result = subprocess.run(
            [sys.executable, "-m", "headgate", "--help"],
            env=environment(tmp_path), stdout=closed, stderr=subprocess.PIPE, text=True, timeout=120,
            check=False,
        )  # fmt: skip
    assert (result.returncode, result.stderr) == (1, "")


# --- configuration ------------------------------------------------------------------------------------------


def test_a_wrong_configuration_is_one_line_with_its_place(tmp_path: Path, configuration: Path) -> None:
    with configuration.open("a") as file:
        file.write("prot = 1\n")
    result = headgate(tmp_path, "serve", "--config", "gate.toml", UP_KEY=KEY)
    assert one_line(result).startswith(
        "gate.toml:8: upstream[0].prot: unknown field; Known here: name, provider, "
    )
    assert result.returncode == 2


def test_a_missing_variable_is_named(tmp_path: Path, configuration: Path) -> None:
    result = headgate(tmp_path, "serve", "--config", str(configuration))
    assert (
        one_line(result)
        == f"{configuration}:7: upstream[0].api_key: the environment variable UP_KEY is not set"
    )
    assert result.returncode == 2


def test_a_key_in_the_file_is_refused_and_not_repeated(tmp_path: Path, configuration: Path) -> None:
    configuration.write_text(configuration.read_text().replace('{ env = "UP_KEY" }', f'"{KEY}"'))
    result = headgate(tmp_path, "serve", HEADGATE_CONFIG=str(configuration))
    assert "upstream[0].api_key: a key is never written into the configuration" in one_line(result)
    assert KEY not in result.stderr
    assert result.returncode == 2


@pytest.mark.parametrize("key", ["tiny-key", "with a space in between", "line\nbreak-line-break"])
def test_an_unusable_master_key_is_refused_and_not_repeated(
    key: str, tmp_path: Path, configuration: Path
) -> None:
    result = headgate(tmp_path, "serve", "--config", str(configuration), HEADGATE_MASTER_KEY=key, UP_KEY=KEY)
    line = one_line(result)
    assert line.startswith("HEADGATE_MASTER_KEY ")
    assert key.replace("\n", " ") not in line
    assert result.returncode == 2


def test_flags_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, configuration: Path, taken_port: int
) -> None:
    configuration.write_text(configuration.read_text().replace("port = 0", f"port = {taken_port}"))
    place = {"HEADGATE_CONFIG": str(configuration), "HEADGATE_DATA": str(tmp_path / "data"), "UP_KEY": KEY}
    with serving(tmp_path, HEADGATE_PORT="0", **place) as gate:
        assert gate.port > 0
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    place |= {"HEADGATE_PORT": str(taken_port), "HEADGATE_HOST": "localhost"}
    with serving(tmp_path, "--port", "0", **place) as gate:
        assert gate.url.startswith("http://localhost:")


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, configuration: Path, taken_port: int) -> None:
    arguments = ("--config", str(configuration), "--port", str(taken_port))
    result = headgate(tmp_path, "serve", *arguments, UP_KEY=KEY)
    line = one_line(result)
    assert line.startswith(f"cannot listen on 127.0.0.1:{taken_port}: ")
    assert "address already in use" in line.lower()
    assert result.returncode in {1, 2}


def test_a_data_folder_in_use_is_a_failure(tmp_path: Path, configuration: Path) -> None:
    with serving(tmp_path, "--config", str(configuration), UP_KEY=KEY) as gate:
        result = headgate(tmp_path, "serve", "--config", str(configuration), UP_KEY=KEY)
        line = one_line(result)
        assert f"{tmp_path}/.local/share/headgate" in line
        assert str(gate.process.pid) in line
        assert result.returncode == 1


def test_the_data_folder_follows_xdg(tmp_path: Path, configuration: Path) -> None:
    with serving(tmp_path, "--config", str(configuration), UP_KEY=KEY, XDG_DATA_HOME=str(tmp_path / "xdg")):
        assert (tmp_path / "xdg/headgate/headgate.lock").exists()


# --- serving ----------------------------------------------------------------------------------------------


class Upstream(http.server.BaseHTTPRequestHandler):
    """Keeps what it is asked and answers a short stream."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        asked = (self.path, self.headers["authorization"], json.loads(body))
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        chunk = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}}]}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def paste(sample: str) -> tuple[int, bytes]:
    """Does what a shell and curl do with the sample."""
    words = shlex.split(sample.replace("\\\n", " "))
    assert words[:4] == ["curl", "--location", "--request", "POST"]
    headers = {}
    for flag, value in zip(words[5:-2:2], words[6:-2:2], strict=True):
        assert flag == "--header"
        # A shell leaves what stands in single quotes alone.
        expanded = value if f"'{value}'" in sample else os.path.expandvars(value)
        name, _, text = expanded.partition(": ")
        headers[name] = text
    assert words[-2] == "--data-raw"
    address, _, path = words[4].removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("POST", f"/{path}", words[-1].encode(), headers)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply.status, content


def sample_of(greeting: str) -> str:
    return greeting[greeting.index("curl ") :].rstrip()


def test_the_sample_can_be_pasted_on_the_first_start_and_later(
    tmp_path: Path,
    configuration: Path,
    upstream: http.server.ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = upstream.server_address[1]
    text = configuration.read_text().replace(":9/v1", f":{port}/v1").replace('"m"', '"it\'s/a-模型"')
    configuration.write_text(text, "utf-8")
    arguments = ("--config", str(configuration))
    with serving(tmp_path, *arguments, UP_KEY=KEY) as gate:
        first = gate.greeting
        assert "shown this once" in first
        status, reply = paste(sample_of(first))
        assert (status, b'"Hi"' in reply, reply.endswith(b"data: [DONE]\n\n")) == (200, True, True)
    made = next(line.strip() for line in first.splitlines() if line.startswith("    sk-"))
    assert first.count(made) == 2, "once to keep, once in the sample"

    with serving(tmp_path, *arguments, UP_KEY=KEY) as gate:
        assert made not in gate.greeting
        assert "shown this once" not in gate.greeting
        assert "Bearer $HEADGATE_KEY" in gate.greeting
        assert paste(sample_of(gate.greeting))[0] == 401
        monkeypatch.setenv("HEADGATE_KEY", made)
        assert paste(sample_of(gate.greeting))[0] == 200
        assert KEY not in gate.greeting + gate.errors()
        assert made not in gate.errors()
    (path, authorization, body), _ = upstream.asked  # type: ignore[attr-defined]
    assert (path, authorization) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert {name: body[name] for name in REFERENCE_BODY} == {**REFERENCE_BODY, "model": "it's/a-模型"}
    stored = b"".join(file.read_bytes() for file in (tmp_path / ".local").rglob("*") if file.is_file())
    assert made.encode() not in stored


def test_a_master_key_from_the_environment_opens_and_is_not_shown(
    tmp_path: Path, configuration: Path
) -> None:
    given = {"HEADGATE_MASTER_KEY": MASTER_KEY, "UP_KEY": KEY}
    with serving(tmp_path, "--config", str(configuration), **given) as gate:
        assert gate.models(MASTER_KEY) == ["m", "starter-chat"]
        assert MASTER_KEY not in gate.greeting + gate.errors()
        assert "Bearer $HEADGATE_KEY" in gate.greeting
    assert headgate(tmp_path, "keys", "master", "--rotate", **given).returncode == 2


def test_a_lost_key_is_rotated_beside_a_running_gate(tmp_path: Path, configuration: Path) -> None:
    with serving(tmp_path, "--config", str(configuration), UP_KEY=KEY) as gate:
        old = next(line.strip() for line in gate.greeting.splitlines() if line.startswith("    sk-"))
        assert gate.models(old) == ["m", "starter-chat"]
        result = headgate(tmp_path, "keys", "master", "--rotate")
        assert (result.returncode, result.stderr) == (0, "")
        new = result.stdout.strip()
        until(lambda: gate.get("/v1/models", new)[0] == 200)
        assert gate.get("/v1/models", old)[0] == 401


def test_a_key_can_be_made_before_the_first_start(tmp_path: Path, configuration: Path) -> None:
    key = headgate(tmp_path, "keys", "master", "--rotate").stdout.strip()
    with serving(tmp_path, "--config", str(configuration), UP_KEY=KEY) as gate:
        assert "shown this once" not in gate.greeting
        assert gate.models(key) == ["m", "starter-chat"]


def test_sighup_reads_the_file_again_and_a_wrong_one_changes_nothing(
    tmp_path: Path, configuration: Path
) -> None:
    given = {"HEADGATE_MASTER_KEY": MASTER_KEY, "UP_KEY": KEY}
    before = configuration.read_text()
    with serving(tmp_path, "--config", str(configuration), **given) as gate:
        configuration.write_text(before.replace('["m"]', '["m", "n"]'))
        gate.process.send_signal(signal.SIGHUP)
        until(lambda: gate.models(MASTER_KEY) == ["m", "n", "starter-chat"])
        configuration.write_text(before.replace('["m"]', f'["m", "o"]\ntoken = "{KEY}"'))
        gate.process.send_signal(signal.SIGHUP)
        until(lambda: f"{configuration}:7: upstream[0].token: unknown field" in gate.errors())
        assert gate.models(MASTER_KEY) == ["m", "n", "starter-chat"]
        assert KEY not in gate.errors()


def test_tls_from_the_command_line(tmp_path: Path, configuration: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    arguments = ("--config", str(configuration), "--tls-cert", "cert.pem", "--tls-key", "key.pem")
    with serving(tmp_path, *arguments, UP_KEY=KEY) as gate:
        assert gate.url.startswith("https://127.0.0.1:")
        assert f"'{gate.url}/v1/chat/completions'" in gate.greeting
    broken = headgate(tmp_path, "serve", *arguments[:3], "gate.toml", "--tls-key", "key.pem", UP_KEY=KEY)
    assert one_line(broken).startswith("server.tls_cert_file, server.tls_key_file: ")
    assert broken.returncode == 2
