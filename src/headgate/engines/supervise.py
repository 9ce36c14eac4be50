"""Keeps one engine's process alive: starts it when it is first needed, watches it, starts it again.

Runs in the gate's process and holds no model. Must not know what the engine is asked.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from logging import getLogger
from typing import Literal

import msgspec

from headgate.core.errors import Overloaded
from headgate.core.ports import Headers
from headgate.core.settings import Engine as EngineSettings
from headgate.engines.process import STOP_GRACE_S, cause_of_death, end, forward, resident_bytes, spawn
from headgate.engines.socket_folder import SOCKET_NAME, private_folder

log = getLogger("headgate.engines")

State = Literal["stopped", "starting", "ready", "waiting", "asleep"]

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
"""A process that dies is started again at once, then after 0.5 s, 1 s ... 30 s: a broken model file must not
keep a core busy, and a repaired one must not wait long."""

STEADY_S = 60.0
"""An engine that ran for this long starts with a clean record when it dies."""

POLL_FIRST_S = 0.02
POLL_SLOWEST_S = 0.25
"""How often a starting engine is asked whether it is ready: they load in 30 ms or in minutes."""

PROBE_TIMEOUT_S = 5.0
"""For one such question; it is asked again."""

NEWS_S = 1.0
"""How long the news of a death may take: the kernel closes the socket a moment before it tells the parent."""


WATCH_S = 1.0
"""How often memory and idleness are looked at: a look costs some microseconds."""


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
        self._folder = private_folder()
        self.address = EngineAddress(str(self._folder / SOCKET_NAME))
        self._command = [*(command or _program(settings)), "--socket", self.address.socket_path]
        self._ready = False
        self._lived = False
        """The process under way, or the last one, has been ready."""
        self._state: State = "stopped"
        self._process: Process | None = None
        self._turn: asyncio.Future[bool] | None = None
        """Settled when the start under way has come to its end: True when the engine is ready."""
        self._fall: asyncio.Future[None] | None = None
        """While it is ready: settled when it no longer is."""
        self._task: asyncio.Task[None] | None = None
        self._memory_bytes = settings.memory_bytes
        self._idle_s = settings.idle_ms / 1000 if settings.idle_ms is not None else None
        self._users = 0
        """Requests that are with the engine, or on their way to it."""
        self._used_s = 0.0
        """When the last one left, or the process became ready."""
        self._call: asyncio.Future[None] | None = None
        """While it sleeps: settled to wake it."""
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
        if self._call is not None and not self._call.done():
            self._call.set_result(None)
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

    def began(self) -> None:
        """To be told that a request is on its way."""
        self._users += 1

    def ended(self) -> None:
        """To be told that one is through."""
        self._users -= 1
        self._used_s = asyncio.get_running_loop().time()

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
            if why is None:
                await self._sleep()
                quick_deaths = 0
                continue
            self._deaths += 1
            quick_deaths = 1 if loop.time() - started_s >= STEADY_S else quick_deaths + 1
            delay_s = _delay_s(quick_deaths)
            self._detail = why
            self._next_start_s = loop.time() + delay_s
            log.error("%s: %s; starting it again in %g s", self.name, why, delay_s)
            if self._lived:
                self._retire()
            elif self._turn is not None and not self._turn.done():
                self._turn.set_result(False)
            self._state = "waiting"
            await asyncio.sleep(delay_s)
            if self._turn is None or self._turn.done():
                self._turn = loop.create_future()

    async def _sleep(self) -> None:
        """Returns when somebody needs the engine again."""
        self._call = asyncio.get_running_loop().create_future()
        self._state = "asleep"
        log.info("%s: nobody has needed it for a while; its memory is free", self.name)
        await self._call
        self._call = None

    async def _live(self) -> str | None:
        """Starts the process once and returns when it has died: why; None when it was put to sleep."""
        loop = asyncio.get_running_loop()
        self._state = "starting"
        self._lived = False
        self._generation += 1
        started_s = loop.time()
        try:
            process = await spawn(self._command)
        except OSError as error:
            return f"cannot be started: {error.strerror or error}"
        self._process = process
        output = loop.create_task(forward(process, self.name))
        answers = loop.create_task(self._until_ready())
        death = loop.create_task(process.wait())
        watch: asyncio.Task[str | None] | None = None
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await asyncio.wait([answers, death], return_when=asyncio.FIRST_COMPLETED)
            if not death.done():
                self._become_ready(loop.time() - started_s)
                watch = loop.create_task(self._watch(process.pid))
                # Waited for, not awaited: who cancels this task must not cancel the wait for its death too.
                await asyncio.wait([death, watch], return_when=asyncio.FIRST_COMPLETED)
                if not death.done():
                    self._retire()  # before it ends: who comes now waits for the next one
                    return watch.result()
            await asyncio.wait([death])
            return cause_of_death(process)
        except TimeoutError:
            return f"was not ready within {self._start_timeout_s:g} s"
        finally:
            answers.cancel()
            if watch is not None:
                watch.cancel()
            await end(process, death)
            # What it said last is the most interesting: the pipe ends with the process.
            await asyncio.wait([output, answers], timeout=STOP_GRACE_S)
            output.cancel()
            self._process = None

    async def _watch(self, pid: int) -> str | None:
        """Returns when the process is to be ended: why, or None when nobody needs it."""
        loop = asyncio.get_running_loop()
        self._used_s = loop.time()
        if self._memory_bytes is None and self._idle_s is None:
            await loop.create_future()
        while True:
            await asyncio.sleep(WATCH_S)
            if self._memory_bytes is not None:
                held = resident_bytes(pid)
                if held is not None and held > self._memory_bytes:
                    return f"held {held} bytes of memory, more than memory_bytes = {self._memory_bytes}"
            if self._idle_s is not None and not self._users and loop.time() - self._used_s >= self._idle_s:
                return None

    def _become_ready(self, took_s: float) -> None:
        self._ready = self._lived = True
        self._fall = asyncio.get_running_loop().create_future()
        self._state = "ready"
        self._detail = ""
        log.info("%s: ready after %.1f s", self.name, took_s)
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(True)

    def _retire(self) -> None:
        """It did run: who comes now waits for it to run again."""
        self._fell()
        if self._turn is None or self._turn.done():
            self._turn = asyncio.get_running_loop().create_future()

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

    def _retry_after_ms(self) -> int:
        left_s = self._next_start_s - asyncio.get_running_loop().time()
        # A second more than the wait: it also has to load.
        return int(max(0.0, left_s) * 1000) + 1000


def _program(settings: EngineSettings) -> list[str]:
    """The engine's command line, but for its socket."""
    options: dict[str, object] = {
        "--model": settings.model,
        "--alias": settings.name,
        "--context": settings.context_tokens,
        "--threads": settings.threads,
        "--sha256": settings.sha256,
    }
    if settings.kind == "llamacpp":
        program = ["headgate.engines.llamacpp"]
        options |= {
            "--mmproj": settings.mmproj,
            "--slots": settings.slots,
            "--gpu-layers": settings.gpu_layers,
        }
    else:
        program = ["headgate.hosting", settings.kind]
        options |= {"--limit": settings.slots + settings.queue}
    words = [f"{option}={value}" for option, value in options.items() if value is not None]
    if settings.embeddings:
        words.append("--embeddings")
    words += [f"--voice={name}={voice}" for name, voice in settings.voices.items()]
    return [sys.executable, "-P", "-m", *program, "--supervised", *words]


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


def _delay_s(quick_deaths: int) -> float:
    """How long to wait after so many deaths in a row."""
    if quick_deaths == 1:
        return 0.0
    # The exponent is bounded too: a float ends at 2**1024.
    return min(FIRST_DELAY_S * 2.0 ** min(quick_deaths - 2, 10), LONGEST_DELAY_S)
