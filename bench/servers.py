"""Contestants as running processes: started on their core, frozen while another is measured, and ended."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from bench import install
from bench.contestants import Contestant
from bench.load import Wrong
from bench.machine import CACHE, core_split, process_tree

START_TIMEOUT_S = 180  # LiteLLM imports for many seconds, more on a busy machine


class Server:
    """A contestant's running process tree on the contestant's core."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.pid = 0
        if contestant.command is None:
            return
        folder = CACHE / "run" / contestant.name
        shutil.rmtree(folder, ignore_errors=True)  # no journal, cache or body of an earlier run
        folder.mkdir(parents=True)
        self.log = folder / "output.log"
        command = contestant.command(folder)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core_split()[0]), *command],
                env={**os.environ, **contestant.environment},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for the bench, which then ends it
            )
        self.pid = self._process.pid
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.close()
            raise

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        answer = b"nothing"
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise Wrong(f"did not start: {self._last_words()}")
            try:
                answer = self._ask_once()
            except OSError as error:
                answer = str(error).encode()
            if answer.startswith(b"HTTP/1.1 200"):
                return
            time.sleep(0.1)
        raise Wrong(f"does not answer well: {answer[:500]!r}")

    def _last_words(self) -> str:
        lines = self.log.read_text().split("\n")
        return next((line for line in reversed(lines) if line.strip()), "and said nothing")

    def _ask_once(self) -> bytes:
        with socket.create_connection(("127.0.0.1", self.contestant.port), timeout=30) as connection:
            connection.sendall(self.contestant.request())
            return connection.recv(4096)

    def freeze(self) -> None:
        """Stops the clock of all its processes while another contestant is measured."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if not self.pid:
            return
        for member in process_tree(self.pid):
            try:
                os.kill(member, number)
            except ProcessLookupError:
                continue

    def close(self) -> None:
        """Ends all its processes."""
        if not self.pid:
            return
        self.thaw()
        members = process_tree(self.pid)
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            pass
        for member in members:
            try:
                os.kill(member, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()


class Field:
    """Fresh servers for one measure. One is measured at a time, the others stand still."""

    def __init__(self, contestants: Sequence[Contestant]) -> None:
        self.servers: dict[str, Server] = {}
        self.absent: dict[str, str] = {}
        try:
            for contestant in contestants:
                self._start(contestant)
        except BaseException:
            self.__exit__()
            raise

    def _start(self, contestant: Contestant) -> None:
        try:
            server = Server(contestant)
        except (Wrong, install.Missing) as reason:
            self.absent[contestant.name] = str(reason)
            print(f"  {contestant.name}: {reason}", file=sys.stderr)
        else:
            self.servers[contestant.name] = server
            server.freeze()

    def measured(self, name: str) -> "Turn":
        """A context in which `name` alone runs."""
        return Turn(self.servers[name])

    def __enter__(self) -> "Field":
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.close()


class Turn:
    """One contestant's turn: it runs inside the `with`, and stands still outside."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def __enter__(self) -> Server:
        self.server.thaw()
        return self.server

    def __exit__(self, *_: object) -> None:
        self.server.freeze()
