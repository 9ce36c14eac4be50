"""The bench's own programs: builds the native load generator and upstream, runs them, reads what they say."""

import http.client
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import CACHE, core_split, make_cache

UPSTREAM_PORT = 9101
IDLE_TIMEOUT_S = 200  # longer than any stream that the bench asks for
NATIVE = Path(__file__).resolve().parent / "native"


def build(name: str) -> Path:
    """Compiles `native/NAME.c` unless the cached program is newer; returns the program."""
    source, program = NATIVE / f"{name}.c", CACHE / name
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise SystemExit(
            "the bench needs a C compiler (cc) for its load generator: apt-get install gcc libc6-dev"
        )
    make_cache()
    subprocess.run([compiler, "-O2", "-o", str(program), str(source)], check=True)
    return program


@dataclass(frozen=True)
class Load:
    """What one run of the load generator saw. Latencies are in microseconds."""

    completed: int
    failed: int
    seconds: float
    events: int
    reconnects: int
    unsent: int
    p50_us: float
    p99_us: float
    max_us: float
    first_error: str

    @property
    def per_second(self) -> float:
        """Whole good replies a second."""
        return self.completed / self.seconds


class Wrong(Exception):
    """A contestant did not do what was measured: its number would mean nothing."""


def request_bytes(port: int, body: dict[str, Any], headers: dict[str, str]) -> bytes:
    """A POST /v1/chat/completions as it goes on the wire."""
    payload = json.dumps(body, separators=(",", ":")).encode()
    fields = {
        "Host": f"127.0.0.1:{port}",
        "User-Agent": "bench/1",
        "Accept": "application/json",
        "Content-Type": "application/json",
        **headers,
        "Content-Length": str(len(payload)),
    }
    head = "POST /v1/chat/completions HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items())
    return head.encode() + b"\r\n" + payload


def chat_body(marker: str = "", *, stream: bool = False, size: int = 1024) -> dict[str, Any]:
    """A chat request of `size` bytes of JSON; `marker` tells the upstream what to answer."""
    text = f"{marker} " if marker else ""
    body: dict[str, Any] = {
        "model": "bench-model",
        "messages": [{"role": "user", "content": text}, {"role": "user", "content": ""}],
        "temperature": 0.7,
        "max_tokens": 256,
    }
    if stream:
        body["stream"] = True
    words = "Tell me how water finds its way down the channel when the gate is open. "
    room = size - len(json.dumps(body, separators=(",", ":")))
    body["messages"][1]["content"] = (words * (room // len(words) + 1))[:room]
    return body


def picture_body(size: int) -> dict[str, Any]:
    """A chat request with a data URI of `size` bytes. The upstream answers as to any small one."""
    picture = "data:image/png;base64," + "iVBORw0KGgoA" * (size // 12)
    text = {"type": "text", "text": "What is in this picture?"}
    parts = [text, {"type": "image_url", "image_url": {"url": picture}}]
    return {"model": "bench-model", "messages": [{"role": "user", "content": parts}], "max_tokens": 256}


class Running:
    """A load generator at work on the load core."""

    def __init__(
        self,
        port: int,
        request: bytes,
        *,
        connections: int,
        seconds: float,
        warmup: float = 0.3,
        rate: float = 0,
    ) -> None:
        path = CACHE / f"request-{port}-{connections}-{os.getpid()}.http"
        path.write_bytes(request)
        numbers = [str(port), str(connections), str(warmup), str(seconds), str(rate)]
        self._process = subprocess.Popen(
            ["taskset", "-c", str(core_split()[1]), str(build("load")), *numbers, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._path = path

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def wait_for_warmup(self) -> None:
        """Returns when the warm-up is over. Raises Wrong if the program could not even connect."""
        if self._line().strip() != "measuring":
            raise Wrong(f"load generator: {self.stop().strip()}")

    def measured(self) -> Load:
        """Waits for the end of the measuring; connections stay open. Raises Wrong if any reply was wrong."""
        load = Load(**json.loads(self._line()))
        if load.failed:
            raise Wrong(f"{load.failed} wrong replies, the first: {load.first_error}")
        return load

    def stop(self) -> str:
        """Ends it at once, its connections with it; returns what it complained of."""
        self._process.kill()
        complaint = self._process.communicate()[1]
        self._path.unlink(missing_ok=True)
        return complaint

    def result(self) -> Load:
        """Waits for the end of everything. Raises Wrong if any reply was wrong."""
        try:
            self.wait_for_warmup()
            return self.measured()
        finally:
            self.stop()


def run_load(port: int, request: bytes, *, connections: int, seconds: float, rate: float = 0) -> Load:
    """Runs the load generator to its end. Raises Wrong if any reply was wrong, or none came."""
    load = Running(port, request, connections=connections, seconds=seconds, rate=rate).result()
    if not load.completed:
        raise Wrong("no reply came in time")
    return load


class Upstream:
    """The native upstream on the load core: counters, and who left in mid-stream when."""

    def __init__(self, port: int = UPSTREAM_PORT) -> None:
        self.port = port
        self._process = subprocess.Popen(
            ["taskset", "-c", str(core_split()[1]), str(build("upstream")), str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            raise SystemExit(f"the bench's upstream could not listen on port {port}")
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def stats(self) -> dict[str, int]:
        """Requests, chunks sent, active streams, cancelled streams and late chunks, so far."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/stats")
            answer: dict[str, int] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()

    def wait_until_idle(self) -> None:
        """Waits until no stream is active. Raises Wrong if streams outlive their clients by far."""
        deadline = time.monotonic() + IDLE_TIMEOUT_S
        while self.stats()["active"]:
            if time.monotonic() > deadline:
                raise Wrong("upstream streams go on after their clients have left")
            time.sleep(0.05)

    def cancelled_at_ns(self, stream: int, timeout_s: float) -> int | None:
        """When (monotonic clock) stream number `stream` was seen to be cancelled; None: not in time."""
        try:
            while True:
                words = self._lines.get(timeout=timeout_s).split()
                if words[:2] == ["cancel", str(stream)]:
                    return int(words[2])
        except queue.Empty:
            return None

    def close(self) -> None:
        """Stops the program."""
        self._process.kill()
        self._process.wait()
