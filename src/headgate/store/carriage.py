"""Keeps a carrier running beside the gate: starts it, tells it what to do, hears how far it is, ends it.

Must not know the database: the carrier does.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from headgate.core.errors import StoreError
from headgate.store.carrier import Orders, Progress, Said

STOP_S = 5.0
"""Time for carrying what is left when the gate stops; the rest is carried at its next start."""
RESTART_S = (1.0, 2.0, 5.0, 30.0)
"""Pauses before a carrier that died is started anew."""
IDENTITY_FILE = "identity"

_log = logging.getLogger(__name__)


def journal_identity(folder: Path) -> str:
    """The name of a journal in the database, made with the journal and kept beside its segments."""
    path = folder / IDENTITY_FILE
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            path.touch(0o600)
            path.write_text(secrets.token_hex(16) + "\n", "ascii")
        found = path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot use {path}: {error}") from None
    if not found:
        path.unlink()  # the process that made it died in between, before anything was carried
        return journal_identity(folder)
    return found


class Carriage:
    """One carrier's process, for as long as the gate runs."""

    def __init__(self, orders: Orders, on_progress: Callable[[Progress], None]) -> None:
        self.progress = Progress(carried_below=0, batches=0, entries=0, idle=False)
        """What the carrier told last."""
        self._orders = orders
        self._on_progress = on_progress
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        """Begins carrying."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    def order(self, orders: Orders) -> None:
        """Replaces the orders, while it runs."""
        self._orders = orders
        self._send()

    async def stop(self) -> None:
        """Lets the carrier carry what is left, for a while, and ends it: it may be killed at any instant."""
        self._stopping = True
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
        if self._keeper is not None:
            try:
                await asyncio.wait_for(asyncio.shield(self._keeper), STOP_S)
            except TimeoutError:
                if process is not None and process.returncode is None:
                    process.kill()
                self._keeper.cancel()
                await asyncio.gather(self._keeper, return_exceptions=True)
                if process is not None:
                    await process.wait()

    async def _keep(self) -> None:
        deaths = 0
        while True:
            begun = await self._run()
            if self._stopping:
                return
            deaths = 0 if begun else min(deaths + 1, len(RESTART_S) - 1)
            _log.error("the ledger's carrier has ended; it is started anew in %g s", RESTART_S[deaths])
            await asyncio.sleep(RESTART_S[deaths])

    async def _run(self) -> bool:
        """One life of a carrier; whether it has carried anything."""
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headgate.store.carrier"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the gate, which ends it when all is written
        )
        self._send()
        if self._stopping and process.stdin is not None:
            process.stdin.close()
        assert process.stdout is not None
        begun = False
        try:
            while line := await process.stdout.readline():
                told = msgspec.json.decode(line, type=Progress | Said)
                if isinstance(told, Said):
                    _log.log(told.level, "ledger: %s", told.message)
                    continue
                self.progress = told
                begun = begun or not told.failure
                self._on_progress(told)
        except (ValueError, msgspec.MsgspecError):
            _log.error("the ledger's carrier does not speak as it should")
            process.kill()
        except asyncio.CancelledError:
            process.kill()
            raise
        await process.wait()
        return begun

    def _send(self) -> None:
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(msgspec.json.encode(self._orders) + b"\n")
