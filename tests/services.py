"""PostgreSQL and Redis, started by the tests that need them, each in a folder of its own; gone afterwards.

A test may kill, freeze and restart its own; nothing is shared with a server that the machine runs already.
Must not know what is kept in them.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from tests.conftest import unused_port

SERVER_USERS = ("postgres", "nobody")
"""PostgreSQL refuses to run as root: then one of these runs it."""

START_S = 60.0
STOP_S = 20.0


class Service:
    """One server process on a loopback port, with its data in `folder`."""

    def __init__(self, folder: Path, command: list[str], port: int, user: str | None = None) -> None:
        self.folder = folder
        self.port = port
        self._command = command
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Starts it, again after `kill` or `stop`, with the data that it had; waits until it listens."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                user=self._user,
                extra_groups=_groups(self._user),
            )
        give_up_s = time.monotonic() + START_S
        while not self._listens():
            assert time.monotonic() < give_up_s, (self.folder / "log").read_text(errors="replace")[-2000:]
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        """Ends it as a power cut would: the process and whatever it has started, at once."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it in order."""
        self._end(signal.SIGINT)

    def freeze(self) -> None:
        """Leaves it listening and mute, until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(STOP_S)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text(errors="replace")[-2000:]
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return self._ready()

    def _ready(self) -> bool:
        return True


class PostgreSQL(Service):
    """A cluster of its own; anybody on loopback may enter it as `headgate`."""

    @property
    def url(self) -> str:
        """The URL of its first database, which is empty."""
        return self.database_url("postgres")

    def database_url(self, name: str) -> str:
        """The URL of a database by its name."""
        return f"postgresql://headgate@127.0.0.1:{self.port}/{name}"

    def create(self, name: str) -> str:
        """Makes an empty database and returns its URL."""
        createdb = _binary("createdb")
        assert createdb is not None
        where = ["--host=127.0.0.1", f"--port={self.port}", "--username=headgate"]
        subprocess.run([createdb, *where, name], check=True, capture_output=True)
        return self.database_url(name)

    def _ready(self) -> bool:
        ready = _binary("pg_isready")
        assert ready is not None
        asked = [ready, "--host=127.0.0.1", f"--port={self.port}", "--username=headgate"]
        return subprocess.run(asked, check=False, capture_output=True).returncode == 0


class Redis(Service):
    """A server of its own, with nothing in it; what it holds survives `stop` and `start`, not `kill`."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@contextmanager
def postgresql(folder: Path) -> Iterator[PostgreSQL]:
    """A running PostgreSQL; skips the test where it is not installed."""
    initdb, server = _binary("initdb"), _binary("postgres")
    if initdb is None or server is None:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql, or the like")
    user = _unprivileged()
    folder.mkdir(parents=True, exist_ok=True)
    if user is not None:
        _let_through(folder)
        shutil.chown(folder, user)
    data = folder / "data"
    made = [initdb, f"--pgdata={data}", "--username=headgate", "--auth=trust", "--encoding=UTF8", "--no-sync"]
    subprocess.run(made, check=True, capture_output=True, cwd=folder, user=user, extra_groups=_groups(user))
    port = unused_port()
    settings = [
        f"port={port}",
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
    ]
    options = [word for setting in [*settings, "fsync=off"] for word in ("-c", setting)]
    service = PostgreSQL(folder, [server, "-D", str(data), *options], port, user)
    try:
        yield service.start()
    finally:
        service.stop()


@contextmanager
def redis(folder: Path) -> Iterator[Redis]:
    """A running Redis (or Valkey); skips the test where none is installed."""
    server = shutil.which("redis-server") or shutil.which("valkey-server")
    if server is None:
        pytest.skip("Redis is not installed: apt-get install redis-server, or the like")
    folder.mkdir(parents=True, exist_ok=True)
    port = unused_port()
    words = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "3600 1"]
    service = Redis(folder, [server, *words], port)
    try:
        yield service.start()
    finally:
        service.stop()


def _binary(name: str) -> str | None:
    """A program of PostgreSQL's, of the newest version; Debian keeps most of them out of PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4].split(".")[0])
    )
    return str(found[-1]) if found else shutil.which(name)


def _unprivileged() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in SERVER_USERS if name in known)


def _let_through(folder: Path) -> None:
    """Lets another user reach a folder of pytest's, which are closed to all but their owner."""
    for parent in folder.resolve().parents:
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)


def _groups(user: str | None) -> list[str] | None:
    return None if user is None else []
