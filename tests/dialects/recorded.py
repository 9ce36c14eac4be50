"""A server on a real socket that answers by what a request names: a case's bytes, or an error.

Shared by the tests that take a dialect through a real gate.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


class Recorded(ThreadingHTTPServer):
    """Keeps what was asked: path, headers and body, by the name that the path or the body gives."""

    daemon_threads = True

    def __init__(self, name: Callable[[str, Json], str], answer: Callable[[str, Json], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name = name
        self.answer = answer
        self.seen: dict[str, tuple[str, dict[str, str], Json]] = {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorded

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = self.server.name(self.path, body)
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.seen[name] = (self.path, headers, body)
        status, extra, data = self.server.answer(name, body)
        self.send_response(status)
        for key, value in extra.items():
            self.send_header(key, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        # In two pieces, cut inside an event.
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        self.wfile.write(data[len(data) // 2 :])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def recorded(name: Callable[[str, Json], str], answer: Callable[[str, Json], Answer]) -> Iterator[Recorded]:
    """Such a server while the block runs."""
    with Recorded(name, answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
