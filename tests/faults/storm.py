"""Requests through the mix, against a real gate in a process of its own: sent, each reply judged, counted.

Must not know what a fault is: that is in the table.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import h11

from tests.faults.asked import Asked
from tests.faults.judge import ended
from tests.faults.table import ANSWERED, BY_NAME, CUT, FAULTS, MIX, Fault, model_of, unbroken_model_of
from tests.faults.upstreams import GOOD, Upstreams, upstreams
from tests.gates import RunningGate, open_gate
from tests.gateway.house import Client

ATTEMPTS = 4
"""Most tries for one request (`routing.attempts`)."""
STEP_MS = 2_000
"""Every limit on one step of an upstream: connecting, its head, a token. All upstreams share a process with
all clients here, and must not seem slow when that has a lot to do."""
TOTAL_MS = 9_000
"""The whole of a request: four tries that are slow, and a little."""
HUNG_S = TOTAL_MS / 1000 + 10
"""When a request counts as hung: its deadline, and what two busy cores may add."""

MANY = 100
"""Requests for one fault, from which on its target must have been left alone for most of them: five failures
open a breaker, and the clients that ask at the same time may add theirs."""
GROWTH_BYTES = 16 * 1024 * 1024
"""Of the gate's memory, from a fifth of a long run to its end: what an allocator may keep. A leak of
two kilobytes a request would be more."""

NAMES = Path(__file__).with_name("names")


@dataclass
class Row:
    """What a run has counted for one fault."""

    ends: Counter[str] = field(default_factory=Counter)
    slowest_ms: float = 0.0


@dataclass
class Result:
    """What a run has counted."""

    rows: dict[str, Row]
    asked: Counter[str]
    tries: Counter[int]
    wrong: list[str]
    """What must never happen, and did."""
    memory_bytes: list[int]
    """Of the gate, at a fifth, two fifths ... of the run."""
    seconds: float

    def check(self) -> None:
        """Fails if anything was promised that the run does not show."""
        assert not self.wrong, "\n".join(self.wrong[:20])
        most = max(self.tries.values())
        assert most <= ATTEMPTS, f"a request was sent {most} times"
        for fault in FAULTS:
            meant = self.rows[fault.name].ends.total()
            if fault.opens and meant >= MANY:
                asked = self.asked[fault.name]
                assert asked <= meant / 2, f"{fault.name}: asked {asked} times, for {meant} requests"
        if sum(row.ends.total() for row in self.rows.values()) >= MANY * len(FAULTS):
            early, late = self.memory_bytes[1], self.memory_bytes[-1]
            assert late - early <= GROWTH_BYTES, f"the gate grew by {late - early} bytes: {self.memory_bytes}"


def configuration(made: Upstreams) -> str:
    """A gate with a model for each fault, and the mix."""
    lines = [
        "[log]",
        "requests = false",
        "[starter]",
        "enabled = false",
        "[routing]",
        f"attempts = {ATTEMPTS}",
        f"first_token_timeout_ms = {STEP_MS}",
        f"token_timeout_ms = {STEP_MS}",
        f"total_timeout_ms = {TOTAL_MS}",
        "backoff_ms = 20",
    ]
    for name, port in made.ports.items():
        tls = name in ("expired", "other name", "unknown authority", "changing")
        host = "slow.test" if name == "slow name" else "localhost" if tls else "127.0.0.1"
        lines += [
            "[[upstream]]",
            f'name = "{slug(name)}"',
            f'base_url = "http{"s" * tls}://{host}:{port}/v1"',
            f'models = ["only-{slug(name)}"]',
            f"connect_timeout_ms = {STEP_MS}",
            f"first_byte_timeout_ms = {STEP_MS}",
            f"idle_timeout_ms = {STEP_MS}",
        ]
        lines += ['quirks = { prefill = "plain" }'] if name in GOOD else []
        lines += [f'ca_file = "{made.authority}"'] if tls else []
    for fault in FAULTS:
        lines += _model(model_of(fault), slug(fault.place), tier=2)
        if CUT in fault.stream:
            lines += [*_model(unbroken_model_of(fault), slug(fault.place), tier=2), "unbroken = true"]
    lines += _model(MIX, "plain", tier=1)
    return "\n".join(lines)


def _model(name: str, first: str, tier: int) -> list[str]:
    targets = [f'{{ upstream = "{first}", model = "{name}" }}']
    targets += [f'{{ upstream = "{good}", model = "counter", priority = {tier} }}' for good in GOOD]
    return ["[[model]]", f'name = "{name}"', f"targets = [{', '.join(targets)}]"]


def slug(name: str) -> str:
    """A fault's or a place's name as the configuration takes it."""
    return name.replace(" ", "-")


def requests(number: int, seed: int) -> list[tuple[str, Asked]]:
    """That many, with their models: each fault as often as any other, in an order that the seed decides."""
    chance = random.Random(seed)
    made = []
    for at in range(number):
        fault = FAULTS[at % len(FAULTS)]
        turn = at // len(FAULTS)
        # One in four goes to the mix, where only what a script can do is met; of what is cut in mid-answer
        # another one to where it is gone on with.
        mixed = fault.place == "plain" and turn % 4 == 3
        goes_on = CUT in fault.stream and turn % 4 == 2
        model = MIX if mixed else unbroken_model_of(fault) if goes_on else model_of(fault)
        made.append((model, Asked(fault.name, at + 1, stream=turn % 2 == 0)))
    chance.shuffle(made)
    return made


async def storm(folder: Path, number: int, *, at_once: int, seed: int = 1) -> Result:
    """Runs it, against a gate of its own."""
    async with upstreams(folder) as made:
        paths = [str(NAMES), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"PYTHONPATH": os.pathsep.join(paths)}
        opened = open_gate(folder / "gate", configuration(made), environment=environment)
        gate = await asyncio.to_thread(opened.__enter__)
        try:
            run = _Run(gate, requests(number, seed))
            began_s = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(run.work())
            seconds = time.monotonic() - began_s
        finally:
            await asyncio.to_thread(opened.__exit__, None, None, None)
        return Result(run.rows, made.asked, made.tries, run.wrong, run.memory_bytes, seconds)


class _Run:
    """The clients of one run."""

    def __init__(self, gate: RunningGate, waiting: Iterable[tuple[str, Asked]]) -> None:
        self._gate = gate
        self._waiting = deque(waiting)
        self._step = max(1, len(self._waiting) // 5)
        self.rows = {fault.name: Row() for fault in FAULTS}
        self.wrong: list[str] = []
        self.memory_bytes: list[int] = []

    async def work(self) -> None:
        """One client: sends one request after the other, on a connection that it keeps while it may."""
        client: Client | None = None
        while self._waiting:
            model, asked = self._waiting.popleft()
            if len(self._waiting) % self._step == 0:
                self.memory_bytes.append(resident_bytes(self._gate.process.pid))
            if client is None:
                streams = await asyncio.open_connection("127.0.0.1", self._gate.port)
                client = Client(*streams, keep=False)
            keep = await self._one(client, model, asked)
            if not keep:
                client.hang_up()
                client = None
        if client is not None:
            client.hang_up()

    async def _one(self, client: Client, model: str, asked: Asked) -> bool:
        """Sends a request and judges its reply; returns whether the connection may be used again."""
        fault, row = BY_NAME[asked.fault], self.rows[asked.fault]
        began_s = time.monotonic()
        keep = False
        try:
            async with asyncio.timeout(HUNG_S):
                await client.ask(asked.stream, key=self._gate.key, body=asked.body(model))
                reply = await client.answer()
            end = ended(reply.status, asked.stream, reply.body)
            keep = reply.headers.get("connection", "") != "close"
            allowed = _allowed(fault, model, asked)
            if end not in allowed:
                self._note(model, asked, f"{end}, not one of {sorted(allowed)}: {reply.body[:200]!r}")
        except TimeoutError:
            end = "hung"
            self._note(model, asked, "hung past its deadline")
        except (AssertionError, OSError, ValueError, KeyError, TypeError, h11.ProtocolError) as error:
            end = "broken"
            self._note(model, asked, f"{type(error).__name__}: {error}")
        row.ends[end] += 1
        row.slowest_ms = max(row.slowest_ms, (time.monotonic() - began_s) * 1000)
        return keep

    def _note(self, model: str, asked: Asked, words: str) -> None:
        kind = "stream" if asked.stream else "whole"
        self.wrong.append(f"{asked.fault}, {kind}, request {asked.number} for {model}: {words}")


def _allowed(fault: Fault, model: str, asked: Asked) -> frozenset[str]:
    allowed = fault.stream if asked.stream else fault.whole
    if model == unbroken_model_of(fault):
        return frozenset({ANSWERED})
    return allowed | {ANSWERED} if model == MIX else allowed


def resident_bytes(process: int) -> int:
    """Memory of a process that is its own: the journal's file is mapped, and is the kernel's."""
    status = Path(f"/proc/{process}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024
