"""Whoever gives tokens and keys, on a real socket: answers what a test says, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs


class Giver(ThreadingHTTPServer):
    """Answers every request with the next of its answers, the last one for ever."""

    daemon_threads = True

    def __init__(self, *answers: tuple[int, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.answers = list(answers)
        self.seen: list[tuple[str, dict[str, str], dict[str, str]]] = []
        """Path, headers and form of each."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: Giver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        self.server.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, form))
        answers = self.server.answers
        status, value = answers.pop(0) if len(answers) > 1 else answers[0]
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("location", f"{self.server.url}/elsewhere")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def giving(*answers: tuple[int, Any]) -> Iterator[Giver]:
    """A giver that listens while the block runs."""
    with Giver(*answers) as giver:
        thread = threading.Thread(target=giver.serve_forever)
        thread.start()
        try:
            yield giver
        finally:
            giver.shutdown()
            thread.join()
