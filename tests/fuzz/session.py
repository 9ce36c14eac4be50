"""One fuzzing session: an upstream, a real gate in front of it, a storm, and what must be so afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.fuzz.model import Model
from tests.fuzz.storm import GROWTH_BYTES, SETTINGS, Finding, Footprint, Tally, connect, footprint, storm
from tests.gates import KEY, RunningGate, open_gate

WARM_UP = 1000
"""Cases before memory is looked at for the first time, at most half of all."""


@dataclass
class Report:
    """What a session met."""

    tally: Tally
    upstream_requests: int
    before: Footprint
    after: Footprint

    def __str__(self) -> str:
        warm, end = self.before.memory_bytes / 1e6, self.after.memory_bytes / 1e6
        return (
            f"replies by status: {self.tally}\n"
            f"{self.upstream_requests} went upstream\n"
            f"memory: {warm:.1f} MB when warm, {end:.1f} MB at the end\n"
            f"open files: {self.before.files}, then {self.after.files}"
        )


def fuzz(folder: Path, count: int, seed: int) -> Report:
    """Sends `count` mutated requests to a new gate that lives in `folder`; raises Finding, or tells all."""
    return uvloop.run(_fuzz(folder, count, seed))


async def _fuzz(folder: Path, count: int, seed: int) -> Report:
    model = Model()
    await model.start()
    loop = asyncio.get_running_loop()
    try:
        opened = open_gate(folder, SETTINGS.format(port=model.port))
        # Starting and stopping wait for the gate, which may be waiting for the upstream in this loop.
        gate = await loop.run_in_executor(None, opened.__enter__)
        try:
            report = await _judged(gate, model, count, seed)
            await loop.run_in_executor(None, gate.stop)
            return report
        finally:
            await loop.run_in_executor(None, opened.__exit__, None, None, None)
    finally:
        await model.stop()


async def _judged(gate: RunningGate, model: Model, count: int, seed: int) -> Report:
    tally = Tally()
    numbers = iter(range(count))
    warm = min(WARM_UP, count // 2)
    await storm(gate, (next(numbers) for _ in range(warm)), seed, tally)
    before = await _quiet(gate)
    await storm(gate, numbers, seed, tally)
    after = await _quiet(gate)
    if model.complaints:
        raise Finding(f"seed {seed}: the upstream was sent {model.complaints[0]}")
    if after.memory_bytes - before.memory_bytes > GROWTH_BYTES:
        raise Finding(f"seed {seed}: memory grew from {before.memory_bytes} to {after.memory_bytes} bytes")
    if "Traceback" in gate.log:
        raise Finding(f"seed {seed}: {gate.log}")
    return Report(tally, model.requests, before, after)


async def _quiet(gate: RunningGate) -> Footprint:
    """The gate's footprint when it has nothing to do; it must still serve."""
    client = await connect(gate)
    reply = await client.ask(
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\n\r\n" % KEY.encode()
    )
    client.close()
    if reply.status != 200:
        raise Finding(f"the gate serves no more: {reply}")
    idle_files = 0
    while (found := footprint(gate)).files != idle_files:  # its connections end one after the other
        idle_files = found.files
        await asyncio.sleep(1)
    return found
