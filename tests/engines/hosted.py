"""Runs an engine that is written in Python, as its supervisor would: its own process, on a Unix socket."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.engines.running import START_TIMEOUT_S, RunningEngine, is_healthy


@contextmanager
def hosted(name: str, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[RunningEngine]:
    """The engine, once it answers; what it wrote is shown when it does not."""
    folder = Path(tempfile.mkdtemp(prefix="headgate-test-"))
    path = folder / "engine.sock"
    command = [sys.executable, "-m", "headgate", "engine", name, f"--socket={path}", *options]
    with (
        (folder / "log").open("w+") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
    ):
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not is_healthy(str(path)):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, f"it did not start: {(folder / 'log').read_text()}"
                time.sleep(0.02)
            yield RunningEngine(str(path), process)
            assert process.poll() is None, f"it died: {(folder / 'log').read_text()}"
            process.terminate()
            assert process.wait(START_TIMEOUT_S) == 0
            said = (folder / "log").read_text()
            assert "Traceback" not in said, said
        finally:
            process.kill()
            shutil.rmtree(folder, ignore_errors=True)
