"""One engine's process: started, heard, ended. Must not know why, nor how often."""

from __future__ import annotations

import asyncio
import os
import re
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Sequence
from contextlib import suppress
from logging import DEBUG, ERROR, INFO, WARNING, getLogger
from pathlib import Path

log = getLogger("headgate.engines")

STOP_GRACE_S = 5.0
"""From SIGTERM to SIGKILL: the gate has finished its streams before it stops an engine."""

LINE_BYTES = 2000
"""An engine's line above this is cut: it writes for people."""

# What a process needs to run, to find its libraries and its GPU. Not the gate's keys.
ENVIRONMENT = re.compile(
    r"PATH|HOME|USER|LANG|LC_.*|TZ|TMPDIR|XDG_CACHE_HOME|LD_LIBRARY_PATH|DYLD_.*|PYTHON.*|VIRTUAL_ENV"
    r"|CUDA_.*|NVIDIA_.*|HIP_.*|ROCR_.*|GGML_.*|OMP_.*|GOMP_.*"
)

_LEVELS = {b"E": ERROR, b"W": WARNING, b"I": INFO, b"D": DEBUG}
_LINE = re.compile(rb"^[\d.]+ (?P<level>[EWID]) (?P<text>.*)")
"""llama.cpp's log: a clock, a level, words."""


async def spawn(command: Sequence[str]) -> Process:
    """Starts the process; raises OSError. It is not left behind when this is cancelled half-way."""
    spawning = asyncio.get_running_loop().create_task(
        asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,  # never written to: its end tells the engine that we are gone
            stdout=PIPE,
            stderr=STDOUT,
            env={name: value for name, value in os.environ.items() if ENVIRONMENT.fullmatch(name)},
            start_new_session=True,  # Ctrl-C at the terminal is for the gate, which then ends its streams
        )
    )
    try:
        return await asyncio.shield(spawning)
    except asyncio.CancelledError:
        with suppress(OSError):  # it could not be started, and nobody is left to be told
            process = await spawning
            process.kill()
            await process.communicate()
        raise


async def forward(process: Process, name: str) -> None:
    """Passes what the process writes to our log, a line at a time, until it ends."""
    assert process.stdout is not None
    rest = b""
    while data := await process.stdout.read(65_536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            _say(name, line)
        if len(rest) > LINE_BYTES:
            _say(name, rest)
            rest = b""
    _say(name, rest)


def _say(name: str, line: bytes) -> None:
    if line.strip():
        parts = _LINE.match(line)
        level = _LEVELS[parts["level"]] if parts else INFO
        if b"send_error" in line:
            level = INFO  # what a client did wrong, which it is told
        text = parts["text"] if parts else line
        log.log(level, "%s: %s", name, text[:LINE_BYTES].decode(errors="replace").strip())


async def end(process: Process, death: asyncio.Task[int]) -> None:
    """Ends the process if it still runs: first with a word, then without. `death` waits for its end."""
    if not death.done():
        with suppress(ProcessLookupError):  # it died this very moment
            process.terminate()
        await asyncio.wait([death], timeout=STOP_GRACE_S)
    if not death.done():
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.wait([death])
    if process.stdin is not None:
        process.stdin.close()


def resident_bytes(pid: int) -> int | None:
    """Memory that a process really holds; None where the system does not tell, or the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return None


_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cause_of_death(process: Process) -> str:
    """In words, for whoever reads the log."""
    code = process.returncode or 0
    if code >= 0:
        return f"ended with exit code {code}"
    if code == -4:
        return "was killed by signal 4 (illegal instruction): this CPU lacks AVX2; see `headgate doctor`"
    return f"was killed by signal {-code}"
