"""Where log lines go: the program's own at once, requests' in batches from a thread of its own.

Must not know what a line says of a request: that is in `lines.py`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from headgate.telemetry.counters import Counters
from headgate.telemetry.lines import Story, as_json, as_text, rfc3339

if TYPE_CHECKING:
    from headgate.core.settings_telemetry import Log

BATCH_LINES = 64
"""Made and written in one go: the interpreter is held for some fifty microseconds, then let go."""
BATCH_WAIT_S = 0.1
"""How long a line may wait for others."""
MOST_WAITING = 50_000
"""Lines that wait while standard error takes none: some twenty megabytes. More are dropped and counted, for a
full pipe must not stop the gate."""

STDERR = 2


class JsonFormatter(logging.Formatter):
    """What the program has to say, as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, object] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "event": "log",
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(said).decode()


def is_json(settings: Log, descriptor: int = STDERR) -> bool:
    """Whether lines are JSON: as the settings say, or by who reads."""
    return settings.format == "json" or (settings.format == "auto" and not os.isatty(descriptor))


def configure(settings: Log) -> None:
    """Gives everything that is logged in this process the form of the settings; may be called again."""
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonFormatter() if is_json(settings) else plain)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)


class RequestLog:
    """Takes lines on the loop and writes them off it. Start it once; `stop` writes what is left."""

    def __init__(
        self, counters: Counters, *, json: bool, descriptor: int = STDERR, most_waiting: int = MOST_WAITING
    ) -> None:
        self._counters = counters
        self._form: Callable[[Sequence[Story]], bytes] = as_json if json else as_text
        self._descriptor = descriptor
        self._waiting: deque[Story] = deque()
        self._most_waiting = most_waiting
        self._some = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="request log", daemon=True)
        self._thread.start()

    def add(self, story: Story) -> None:
        """Takes a line; costs an append, and wakes the thread when it sleeps."""
        waiting = self._waiting
        if len(waiting) >= self._most_waiting:
            self._counters.log_lines_dropped += 1
            return
        waiting.append(story)
        if not self._some.is_set():
            self._some.set()

    def stop(self, limit_s: float = 2.0) -> None:
        """Writes what waits, for so long at most, and ends the thread."""
        self._stopping = True
        self._some.set()
        self._thread.join(limit_s)

    def _run(self) -> None:
        while not self._stopping:
            self._some.wait()
            if not self._stopping:
                time.sleep(BATCH_WAIT_S)
            self._some.clear()
            self._write_waiting()

    def _write_waiting(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_LINES, len(self._waiting)))]
            # Nobody reads standard error any more: the lines have nowhere to go.
            with contextlib.suppress(OSError):
                _write_whole(self._descriptor, self._form(batch))


def _write_whole(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            # Somebody who shares standard error with us made it non-blocking.
            select.select([], [descriptor], [], 1.0)
