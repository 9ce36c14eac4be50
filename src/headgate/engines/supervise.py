"""Keeps one engine's process alive: starts it when it is first needed, watches it, starts it again.

Runs in the gate's process and holds no model. Must not know what the engine is asked.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Sequence
from contextlib import suppress
from logging import DEBUG, ERROR, INFO, WARNING, getLogger
from pathlib import Path
from typing import Literal

import msgspec

from headgate.core.errors import Overloaded, SettingsError
from headgate.core.ports import Headers
from headgate.core.settings import Engine as EngineSettings

log = getLogger("headgate.engines")

State = Literal["stopped", "starting", "ready", "waiting"]

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
"""A process that dies is started again at once, then after 0.5 s, 1 s ... 30 s: a broken model file must not
keep a core busy, and a repaired one must not wait long."""

STEADY_S = 60.0
"""An engine that ran for this long starts with a clean record when it dies."""

STOP_GRACE_S = 5.0
"""From SIGTERM to SIGKILL: the gate has finished its streams before it stops an engine."""

POLL_FIRST_S = 0.02
POLL_SLOWEST_S = 0.25
"""How often a starting engine is asked whether it is ready: they load in 30 ms or in minutes."""

PROBE_TIMEOUT_S = 5.0
"""For one such question; it is asked again."""

NEWS_S = 1.0
"""How long the news of a death may take: the kernel closes the socket a moment before it tells the parent."""

FOLDER_PREFIX, SOCKET_NAME = "headgate-", "engine.sock"

FRESH_S = 60.0
"""A socket younger than this may be about to listen."""

LINE_BYTES = 2000
"""An engine's line above this is cut: it writes for people."""

# What a process needs to run, to find its libraries and its GPU. Not the gate's keys.
ENVIRONMENT = re.compile(
    r"PATH|HOME|USER|LANG|LC_.*|TZ|TMPDIR|LD_LIBRARY_PATH|DYLD_.*|PYTHON.*|VIRTUAL_ENV"
    r"|CUDA_.*|NVIDIA_.*|HIP_.*|ROCR_.*|GGML_.*|OMP_.*|GOMP_.*"
)

_LEVELS = {b"E": ERROR, b"W": WARNING, b"I": INFO, b"D": DEBUG}
_LINE = re.compile(rb"^[\d.]+ (?P<level>[EWID]) (?P<text>.*)")
"""llama.cpp's log: a clock, a level, words."""


class EngineAddress(msgspec.Struct, frozen=True):
    """Where an engine listens; the same for as long as its supervisor lives."""

    socket_path: str
    headers: Headers = ()


class EngineStatus(msgspec.Struct, frozen=True):
    """What an operator may want to know."""

    state: State
    generation: int
    """How many times it has been started."""
    pid: int | None
    restarts: int
    """How many times it has died by itself."""
    detail: str
    """Why it is not running, where it is not."""


class Engine:
    """One supervised engine."""

    def __init__(self, settings: EngineSettings, command: Sequence[str] | None = None) -> None:
        """`command` replaces the program; the socket's path is added to it."""
        self.name = settings.name
        self._start_timeout_s = settings.start_timeout_ms / 1000
        self._folder = _private_folder()
        self.address = EngineAddress(str(self._folder / SOCKET_NAME))
        self._command = [*(command or _program(settings)), "--socket", self.address.socket_path]
        self._ready = False
        self._state: State = "stopped"
        self._process: Process | None = None
        self._turn: asyncio.Future[bool] | None = None
        """Settled when the start under way has come to its end: True when the engine is ready."""
        self._fall: asyncio.Future[None] | None = None
        """While it is ready: settled when it no longer is."""
        self._task: asyncio.Task[None] | None = None
        self._generation = 0
        self._deaths = 0
        self._detail = ""
        self._next_start_s = 0.0
        self._closed = False

    def __repr__(self) -> str:
        return f"Engine({self.name!r}, {self._state})"

    def start(self) -> None:
        """Begins to start it, if it is not under way already."""
        if self._task is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._turn = loop.create_future()
            self._task = loop.create_task(self._supervise())

    async def ready(self) -> EngineAddress:
        """The engine's address once it answers there; raises Overloaded when it does not come up in time."""
        if self._ready:
            return self.address
        self.start()
        turn = self._turn
        if turn is None:
            raise Overloaded("The model is being stopped.")
        # What the last start came to is known, and the next one is a while away: nobody waits for that.
        if not turn.done():
            try:
                async with asyncio.timeout(self._start_timeout_s):
                    await asyncio.shield(turn)
            except TimeoutError:
                raise Overloaded("The model is still starting.", retry_after_ms=5000) from None
        if not turn.result():
            raise Overloaded("The model cannot be started now.", retry_after_ms=self._retry_after_ms())
        return self.address

    async def refused(self) -> None:
        """To be told that a connection was refused: waits a moment for the news of the engine's death.

        Nothing was sent then, so the caller may wait for `ready` and try once more.
        """
        if self._fall is not None:
            await asyncio.wait([self._fall], timeout=NEWS_S)

    def status(self) -> EngineStatus:
        """How it is."""
        pid = self._process.pid if self._process else None
        return EngineStatus(self._state, self._generation, pid, self._deaths, self._detail)

    async def stop(self) -> None:
        """Ends the process, and never starts it again."""
        self._closed = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._fell()
        self._state = "stopped"
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(False)
        self._turn = None
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- the engine's life -------------------------------------------------------------------------

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        quick_deaths = 0
        while True:
            started_s = loop.time()
            why = await self._live()
            self._deaths += 1
            if loop.time() - started_s >= STEADY_S:
                quick_deaths = 0
            delay_s = (
                0.0 if quick_deaths == 0 else min(FIRST_DELAY_S * 2 ** (quick_deaths - 1), LONGEST_DELAY_S)
            )
            quick_deaths += 1
            self._detail = why
            self._next_start_s = loop.time() + delay_s
            log.error("%s: %s; starting it again in %g s", self.name, why, delay_s)
            if self._ready:
                # It did run: who comes now waits for it.
                self._fell()
                self._turn = loop.create_future()
            elif self._turn is not None and not self._turn.done():
                self._turn.set_result(False)
            self._state = "waiting"
            await asyncio.sleep(delay_s)
            if self._turn is None or self._turn.done():
                self._turn = loop.create_future()

    async def _live(self) -> str:
        """Starts the process once and returns when it has died: why."""
        loop = asyncio.get_running_loop()
        self._state = "starting"
        self._generation += 1
        started_s = loop.time()
        try:
            process = await _spawn(self._command)
        except OSError as error:
            return f"cannot be started: {error.strerror or error}"
        self._process = process
        output = loop.create_task(self._forward(process))
        answers = loop.create_task(self._until_ready())
        death = loop.create_task(process.wait())
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await asyncio.wait([answers, death], return_when=asyncio.FIRST_COMPLETED)
            if not death.done():
                self._become_ready(loop.time() - started_s)
            # Waited for, not awaited: who cancels this task must not cancel the wait for its death as well.
            await asyncio.wait([death])
            return _cause(process)
        except TimeoutError:
            return f"was not ready within {self._start_timeout_s:g} s"
        finally:
            answers.cancel()
            await _end(process, death)
            # What it said last is the most interesting: the pipe ends with the process.
            await asyncio.wait([output, answers], timeout=STOP_GRACE_S)
            output.cancel()
            self._process = None

    def _become_ready(self, took_s: float) -> None:
        self._ready = True
        self._fall = asyncio.get_running_loop().create_future()
        self._state = "ready"
        self._detail = ""
        log.info("%s: ready after %.1f s", self.name, took_s)
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(True)

    def _fell(self) -> None:
        self._ready = False
        if self._fall is not None:
            self._fall.set_result(None)
            self._fall = None

    async def _until_ready(self) -> None:
        pause_s = POLL_FIRST_S
        while not await _is_healthy(self.address.socket_path):
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, POLL_SLOWEST_S)

    async def _forward(self, process: Process) -> None:
        """Passes what the engine writes to our log, a line at a time."""
        assert process.stdout is not None
        rest = b""
        while data := await process.stdout.read(65_536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._say(line)
            if len(rest) > LINE_BYTES:
                self._say(rest)
                rest = b""
        self._say(rest)

    def _say(self, line: bytes) -> None:
        if line.strip():
            parts = _LINE.match(line)
            level = _LEVELS[parts["level"]] if parts else INFO
            text = parts["text"] if parts else line
            log.log(level, "%s: %s", self.name, text[:LINE_BYTES].decode(errors="replace").strip())

    def _retry_after_ms(self) -> int:
        left_s = self._next_start_s - asyncio.get_running_loop().time()
        # A second more than the wait: it also has to load.
        return int(max(0.0, left_s) * 1000) + 1000


def _program(settings: EngineSettings) -> list[str]:
    """The engine's command line, but for its socket."""
    options: dict[str, object] = {
        "--model": settings.model,
        "--mmproj": settings.mmproj,
        "--alias": settings.name,
        "--slots": settings.slots,
        "--context": settings.context_tokens,
        "--threads": settings.threads,
        "--gpu-layers": settings.gpu_layers,
    }
    words = [f"{option}={value}" for option, value in options.items() if value is not None]
    return [sys.executable, "-P", "-m", f"headgate.engines.{settings.kind}", "--supervised", *words]


def _private_folder() -> Path:
    """A new folder only we can enter. Its path stays short: a socket's may have 103 bytes."""
    bases = [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"]
    for base in bases:
        if base and len(base.encode()) <= 60 and os.access(base, os.W_OK | os.X_OK):
            _sweep(Path(base))
            return Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=base))
    raise SettingsError(
        "no folder for an engine's socket: set XDG_RUNTIME_DIR or TMPDIR to a short, writable one"
    )


def _sweep(base: Path) -> None:
    """Removes what gates that were killed have left: sockets of ours at which nobody listens any more."""
    for path in base.glob(f"{FOLDER_PREFIX}*/{SOCKET_NAME}"):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            found = path.lstat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < FRESH_S:
                continue
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                shutil.rmtree(path.parent, ignore_errors=True)


async def _spawn(command: Sequence[str]) -> Process:
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


async def _is_healthy(socket_path: str) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(socket_path)
            try:
                writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, ValueError, TimeoutError):
        return False
    return status.startswith(b"HTTP/1.1 200 ")


async def _end(process: Process, death: asyncio.Task[int]) -> None:
    """Ends the process if it still runs: first with a word, then without."""
    if not death.done():
        process.terminate()
        await asyncio.wait([death], timeout=STOP_GRACE_S)
    if not death.done():
        process.kill()
        await asyncio.wait([death])
    if process.stdin is not None:
        process.stdin.close()


def _delay_s(quick_deaths: int) -> float:
    """How long to wait after so many deaths in a row."""
    # The exponent is bounded too: a float ends at 2**1024.
    return (
        0.0 if quick_deaths == 1 else min(FIRST_DELAY_S * 2.0 ** min(quick_deaths - 2, 10), LONGEST_DELAY_S)
    )


def _cause(process: Process) -> str:
    code = process.returncode or 0
    if code >= 0:
        return f"ended with exit code {code}"
    if code == -4:
        return "was killed by signal 4 (illegal instruction): this CPU lacks AVX2; see `headgate doctor`"
    return f"was killed by signal {-code}"
