"""A real `headgate serve`, in a process of its own, for tests that come from outside.

It knows the command line and the health page, nothing else.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from ssl import SSLContext

KEY = "sk-test-0123456789abcdef"
"""The operator's key of every gate that is not told another."""

STOP_LIMIT_S = 60.0
"""Far over any grace period that a test sets: a gate that needs longer hangs."""


@dataclass
class RunningGate:
    """A gate that listens."""

    process: subprocess.Popen[str]
    url: str
    """Scheme, address and port, without a path."""
    port: int
    key: str
    folder: Path
    """Holds `headgate.toml`, the data folder `data` and what was logged, `gate.log`."""
    greeting: str
    """What was printed up to the line with the address."""

    @property
    def log(self) -> str:
        """Everything on standard error so far."""
        return (self.folder / "gate.log").read_text("utf-8")

    def reload(self, toml: str) -> None:
        """Replaces the configuration and sends SIGHUP; what has changed is for the test to wait for."""
        (self.folder / "headgate.toml").write_text(toml, "utf-8")
        self.process.send_signal(1)

    def kill(self) -> None:
        """Ends it at once, as `kill -9` does."""
        self.process.kill()
        self.process.wait(STOP_LIMIT_S)

    def stop(self) -> None:
        """SIGTERM; fails unless it ends by itself, well, and without having met an error nobody handled."""
        self.process.terminate()
        code = self.process.wait(STOP_LIMIT_S)
        assert code == 0, f"exit code {code}:\n{self.log}"
        assert "Traceback" not in self.log, self.log


@contextmanager
def open_gate(
    folder: Path,
    toml: str = "",
    *,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    key: str | None = KEY,
    tls: SSLContext | None = None,
) -> Generator[RunningGate]:
    """Starts a gate on a free port with `folder` for its files, and stops it unless the test already did.

    `key` None leaves HEADGATE_MASTER_KEY unset. `tls` is what the health page is asked with, where needed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "headgate.toml"
    configuration.write_text(toml, "utf-8")
    words = ["serve", "--host", "127.0.0.1", "--port", "0", "--data", str(folder / "data")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")}
    clean |= {"HEADGATE_MASTER_KEY": key} if key else {}
    with (folder / "gate.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "headgate", *words, "--config", str(configuration), *arguments],
            env=clean | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        gate = _greeted(process, folder, key or "")
        _expect_ready(gate, tls)
        yield gate
        if process.poll() is None:
            gate.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(STOP_LIMIT_S)
        assert process.stdout
        process.stdout.close()


def _greeted(process: subprocess.Popen[str], folder: Path, key: str) -> RunningGate:
    assert process.stdout
    greeting = ""
    for line in process.stdout:
        greeting += line
        if opened := re.search(r"Headgate is open at (https?://\S+:(\d+))", line):
            return RunningGate(process, opened[1], int(opened[2]), key, folder, greeting)
    process.wait(STOP_LIMIT_S)
    raise AssertionError(f"the gate did not open:\n{(folder / 'gate.log').read_text('utf-8')}")


def _expect_ready(gate: RunningGate, tls: SSLContext | None) -> None:
    connection = (
        HTTPSConnection("127.0.0.1", gate.port, timeout=STOP_LIMIT_S, context=tls)
        if gate.url.startswith("https")
        else HTTPConnection("127.0.0.1", gate.port, timeout=STOP_LIMIT_S)
    )
    try:
        connection.request("GET", "/readyz")
        reply = connection.getresponse()
        assert reply.status == 200, reply.read()
    finally:
        connection.close()
