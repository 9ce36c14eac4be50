"""An engine's process that behaves badly on purpose: what the supervisor has to live with.

Run with a behaviour and `--socket PATH`. Each start adds a line to the file named in the first argument.
"""

from __future__ import annotations

import http.server
import os
import socketserver
import sys
import threading
import time
from pathlib import Path


class Health(http.server.BaseHTTPRequestHandler):
    """Answers every request with 200."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    log, behaviour, _, path = sys.argv[1:]
    with Path(log).open("a") as file:
        file.write(f"{os.getpid()}\n")
    starts = len(Path(log).read_text().splitlines())
    print("0.00.001.234 E srv  load: something is wrong", flush=True)
    print("0.00.001.235 E srv  send_error: task id = 1, error: too long", flush=True)
    print("plain words", "x" * 10_000, flush=True)
    print("environment:", " ".join(sorted(os.environ)), flush=True)
    if behaviour == "dies at once" or (behaviour == "dies twice" and starts <= 2):
        sys.exit(3)
    if behaviour == "never ready":
        time.sleep(600)
    if behaviour == "ignores SIGTERM":
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    held = bytearray(os.urandom(1) * 150_000_000) if behaviour == "grows once" and starts == 1 else b""
    Path(path).unlink(missing_ok=True)
    threading.Thread(target=end_with_parent, daemon=True).start()
    with UnixServer(path, Health) as server:
        server.serve_forever()
    del held


if __name__ == "__main__":
    main()
