"""The command line as a process: one command to its end, or a gate that runs; shared by tests/cli."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KEY = "sk-the-upstream-key-nobody-may-see"
MASTER_KEY = "master-key-nobody-may-see"


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
        names = [model["id"] for model in body["data"]]
        # What else comes along depends on what is installed.
        return [name for name in names if name == "starter-chat" or not name.startswith("starter-")]


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
