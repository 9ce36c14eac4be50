"""Runs the llama.cpp engine's own program for tests, and speaks HTTP with it over its Unix socket."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 60.0
"""For importing the library and loading 100 KB, on a machine that does a dozen other things."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


class RunningEngine:
    """An engine that answers."""

    def __init__(self, socket_path: str, process: subprocess.Popen[bytes]) -> None:
        self.socket_path = socket_path
        self._process = process

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()

    def begin(self, path: str, body: object, method: str = "POST") -> UnixConnection:
        """A request that was sent; the reply is still to be read."""
        connection = UnixConnection(self.socket_path)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, {"content-type": "application/json"})
        return connection

    def ask(self, path: str, body: object) -> tuple[int, bytes]:
        """Status and body of the reply to a POST."""
        connection = self.begin(path, body)
        reply = connection.getresponse()
        data = reply.read()
        connection.close()
        return reply.status, data

    def chat(self, **body: Any) -> tuple[int, dict[str, Any]]:
        """The reply to a chat request in llama.cpp's own dialect."""
        body.setdefault("messages", [{"role": "user", "content": "hi"}])
        status, data = self.ask("/v1/chat/completions", body)
        return status, json.loads(data)

    def busy_slots(self) -> int:
        """How many requests it works on."""
        connection = self.begin("/metrics", b"", "GET")
        text = connection.getresponse().read().decode()
        connection.close()
        found = re.search(r"^llamacpp:requests_processing (\d+)", text, re.MULTILINE)
        assert found, text
        return int(found[1])


def wait_until(condition: Any, timeout_s: float = 30.0) -> None:
    """Return when the condition holds; fail when it does not within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


def is_healthy(socket_path: str) -> bool:
    """Whether an engine answers there that it is ready."""
    connection = UnixConnection(socket_path)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def running_engine(model: Path, *options: str) -> Iterator[RunningEngine]:
    """The engine's program with this model, on a socket of its own, until the end of the block."""
    folder = tempfile.mkdtemp(prefix="headgate-test-")
    path = f"{folder}/engine.sock"
    command = [
        sys.executable,
        "-m",
        "headgate.engines.llamacpp",
        f"--model={model}",
        f"--socket={path}",
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not is_healthy(path):
                assert process.poll() is None, process.communicate()[0].decode()
                assert time.monotonic() < deadline, "the engine did not start"
                time.sleep(0.02)
            yield RunningEngine(path, process)
        finally:
            process.kill()
            process.communicate()
            shutil.rmtree(folder, ignore_errors=True)
