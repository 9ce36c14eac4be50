"""A real `headgate serve`, in a process of its own, for tests that come from outside.

It knows the command line and the health page, nothing else.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from ssl import SSLContext

KEY = "sk-test-0123456789abcdef"
"""The operator's key of every gate that is not told another."""

_OPEN = re.compile(r"open at (https?://\S+:(\d+))\n")

STOP_LIMIT_S = 60.0
"""Far over any grace period that a test sets: a gate that needs longer hangs."""


@dataclass
class RunningGate:
    """A gate that listens."""

    process: subprocess.Popen[bytes]
    url: str
    """Scheme, address and port, without a path."""
    port: int
    key: str
    folder: Path
    """Holds `headgate.toml`, the data folder `data`, what was printed and logged: `gate.out`, `gate.log`."""

    @property
    def printed(self) -> str:
        """Everything on standard output so far."""
        return (self.folder / "gate.out").read_text("utf-8")

    @property
    def log(self) -> str:
        """Everything on standard error so far."""
        return (self.folder / "gate.log").read_text("utf-8")

    def reload(self, toml: str) -> None:
        """Replaces the configuration and sends SIGHUP; what has changed is for the test to wait for."""
        (self.folder / "headgate.toml").write_text(toml, "utf-8")
        self.process.send_signal(signal.SIGHUP)

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
    with (folder / "gate.out").open("w") as out, (folder / "gate.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "headgate", *words, "--config", str(configuration), *arguments],
            env=clean | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
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


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    """Looks again and again until a condition of another process holds; fails after `limit_s`."""
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, f"waited {limit_s:g} s in vain: {what}"
        time.sleep(0.02)


def _greeted(process: subprocess.Popen[bytes], folder: Path, key: str) -> RunningGate:
    gate = RunningGate(process, "", 0, key, folder)
    wait_until(lambda: bool(_OPEN.search(gate.printed)) or process.poll() is not None, "the gate to open")
    opened = _OPEN.search(gate.printed)
    assert opened, f"the gate did not open:\n{gate.log}"
    gate.url, gate.port = opened[1], int(opened[2])
    return gate


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
