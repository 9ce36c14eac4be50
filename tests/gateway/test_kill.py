"""kill -9 of a real gate under load, at random instants: its journal keeps the promise.

What the upstream saw is in it, with one outcome; what a client received whole is in it as OK, and counted.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import h11

from headgate.core.ports import Closed, Opened, Outcome
from headgate.core.usage import Source, Usage
from tests.backends.scripted import Line, scripted
from tests.conftest import run
from tests.gates import RunningGate, open_gate
from tests.gateway.house import DONE, LAST, STREAM, Client, answer, chunk, finished, said, usage, whole
from tests.store.records import outcomes, sound

KILLS = 30
CLIENTS = 8
NAMES = 20_000
"""Models, one for each request, so that the journal and the upstream speak of a request by the same name."""


class Storm:
    """What the upstream saw and what the clients got, over all runs of the gate."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.asked = 0
        self.seen: Counter[str] = Counter()
        self.received: set[str] = set()
        self.unfinished = 0

    def used(self, model: str) -> Usage:
        """What a request has used: told by its name, so that no two are alike."""
        number = int(model.removeprefix("m"))
        return Usage(Source.REPORTED, number + 1, 0, number % 97 + 1)

    async def upstream(self, line: Line) -> None:
        """Answers until the gate is killed."""
        try:
            while True:
                await self.answer(line)
        except RuntimeError:
            assert line.writer.is_closing(), "uvloop says so when a closed connection is written to"

    async def answer(self, line: Line) -> None:
        """Answers whole or as a stream, in one piece or in several, with pauses of its own."""
        asked = json.loads((await line.request()).partition(b"\r\n\r\n")[2])
        model = asked["model"]
        self.seen[model] += 1
        used = self.used(model)
        await asyncio.sleep(self.chance.choice((0.001, 0.002, 0.01)))
        if asked.get("stream"):
            await line.send(STREAM, chunk(said("one ")))
            await asyncio.sleep(self.chance.choice((0, 0.001, 0.01)))
            end = chunk(finished() + usage(used.input_tokens, used.output_tokens) + DONE)
            await line.send(chunk(said("two")) + end + LAST)
        else:
            await line.send(whole(answer("one two", used.input_tokens, used.output_tokens)))

    async def client(self, port: int) -> None:
        """Asks without rest until its gate is gone."""
        try:
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
        except ConnectionError:
            return
        try:
            while True:
                assert self.asked < NAMES
                model = f"m{self.asked}"
                self.asked += 1
                stream = self.chance.random() < 0.5
                await client.ask(stream, model=model, key="sk-test-0123456789abcdef")
                found = await client.answer()
                assert found.status == 200, found.body
                assert not stream or found.body.endswith(DONE)
                self.received.add(model)
        except (ConnectionError, h11.RemoteProtocolError):
            self.unfinished += 1
        finally:
            client.hang_up()

    def judge(self, journal: Path) -> Counter[Outcome]:
        """Reads the journal of a gate that has just started, and does nothing yet."""
        records = sound(journal)
        ends: dict[str, list[Closed]] = {}
        closed = outcomes(records)
        for record in records:
            if isinstance(record, Opened):
                assert len(closed[record.attempt]) == 1, f"{record} has {closed[record.attempt]}"
                ends.setdefault(record.model, []).extend(closed[record.attempt])
        for model, times in self.seen.items():
            assert len(ends.get(model, [])) >= times, f"{model} was sent and is not in the journal"
        for model in self.received:
            [end] = [end for end in ends[model] if end.outcome is Outcome.OK]
            assert (end.status, end.usage) == (200, self.used(model))
        return Counter(end.outcome for found in ends.values() for end in found)


def test_thirty_kills_under_load(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    storm = Storm(seed)
    journal = tmp_path / "data" / "journal"

    def start(stack: ExitStack, toml: str) -> RunningGate:
        return stack.enter_context(open_gate(tmp_path, toml))

    async def main() -> None:
        async with scripted(storm.upstream) as upstream:
            names = ", ".join(f'"m{number}"' for number in range(NAMES))
            toml = f"""
                starter.enabled = false
                [[upstream]]
                name = "far"
                base_url = "http://127.0.0.1:{upstream.port}"
                models = [{names}]
            """
            reported = 0
            for _ in range(KILLS):
                with ExitStack() as stack:
                    gate = await asyncio.to_thread(start, stack, toml)
                    storm.judge(journal)
                    reported += "ended with an earlier run, as unknown" in gate.log
                    clients = [asyncio.ensure_future(storm.client(gate.port)) for _ in range(CLIENTS)]
                    await asyncio.sleep(storm.chance.uniform(0.02, 0.25))
                    gate.process.kill()
                    await asyncio.gather(*clients)
                    await asyncio.to_thread(gate.process.wait)
            with ExitStack() as stack:
                gate = await asyncio.to_thread(start, stack, toml)
                found = storm.judge(journal)
                await asyncio.to_thread(gate.stop)
            print(found, storm.asked, len(storm.received), reported)
            # It must have been a storm.
            assert found[Outcome.OK] > KILLS
            assert found[Outcome.UNKNOWN] > KILLS / 2
            assert storm.unfinished > KILLS
            assert reported > KILLS / 2
            assert len(storm.received) > KILLS

    run(main(), timeout_s=170)
