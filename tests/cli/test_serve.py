"""`headgate serve` as a process: what it prints, how it ends, and what it never shows."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import KEY, MASTER_KEY, headgate, one_line, serving, until

REFERENCE_BODY = {
    "model": "m",
    "stream": True,
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Hello!"},
    ],
}
"""What the reference page's sample sends."""


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
