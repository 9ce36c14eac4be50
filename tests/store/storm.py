"""A program that writes a journal without rest: alone (`write`), or in children that are killed (`kill`).

Run as `python -m tests.store.storm MODE FOLDER ...`; it keeps no threads of its own, so that it may fork.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
import traceback
from pathlib import Path

from headgate.core.ports import Closed, Opened, Outcome
from headgate.store.folder import DataFolder
from headgate.store.journal import FileJournal
from headgate.store.reader import list_segments, read
from tests.store.records import SEGMENT_BYTES, close_one, fill, open_one

RUNS_PER_FOLDER = 10
"""Each run reads what the ones before it wrote: long enough to see leftovers of leftovers."""


def write(folder: Path) -> None:
    """Writes until standard input ends."""
    journal = FileJournal.start(folder, segment_bytes=8 * SEGMENT_BYTES)
    fill(journal, 10)
    print("ready", flush=True)
    while not select.select([0], [], [], 0)[0]:
        fill(journal, 200)
        time.sleep(0.003)  # a pace, so that a reader on a busy machine is not buried
    journal.stop()


def work(folder: Path, pipe: int, seed: int) -> None:
    """One run: starts, settles what was left, then opens and closes; tells each step once it is done."""
    chance = random.Random(seed)
    with DataFolder.open(folder) as data:
        journal = FileJournal.start(data.path / "journal", segment_bytes=SEGMENT_BYTES, fsync_interval_ms=3)
        if journal.damage:
            raise AssertionError(journal.damage)
        os.write(pipe, b"ready\n")
        waiting: list[int] = []
        while True:
            if len(waiting) < chance.randrange(30):
                waiting.append(open_one(journal))
                os.write(pipe, b"o %d\n" % waiting[-1])
            elif waiting:
                attempt = waiting.pop(chance.randrange(len(waiting)))
                close_one(journal, attempt)
                os.write(pipe, b"c %d\n" % attempt)


def run_and_kill(folder: Path, seed: int, delay_s: float) -> tuple[bool, list[str]]:
    """Starts a run, kills it after the delay; whether it had started, and the steps that it told."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            work(folder, writing, seed)
        except BaseException:  # noqa: BLE001 - a forked child must never fall through into its parent's code
            os.write(writing, ("error " + json.dumps(traceback.format_exc()) + "\n").encode())
        os._exit(1)
    os.close(writing)
    told = b""
    end = time.monotonic() + delay_s
    while (left := end - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            chunk = os.read(reading, 1 << 20)
            if not chunk:
                break
            told += chunk
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    while chunk := os.read(reading, 1 << 20):
        told += chunk
    os.close(reading)
    # A line that was cut off was not told.
    steps = told.decode().split("\n")[:-1]
    errors = [step for step in steps if step.startswith("error")]
    if errors or os.WTERMSIG(status) != signal.SIGKILL:
        raise AssertionError(errors or status)
    return steps[:1] == ["ready"], steps[1:]


State = dict[int, Outcome | None]
"""What the journal says of each attempt; None while it is open."""


def judge(records: list[Opened | Closed], started: bool, steps: list[str], old: State) -> State:
    """Compares the journal with what a run told and with what stood there before; what stands there now."""
    mine = [
        f"{'o' if isinstance(record, Opened) else 'c'} {record.attempt}"
        for record in records
        if record.attempt not in old
    ]
    if mine[: len(steps)] != steps:
        raise AssertionError(f"told and lost: {set(steps) - set(mine)}")
    if len(mine) > len(steps) + 1:
        raise AssertionError(f"{len(mine) - len(steps)} records nobody told of")
    now = replay(records)
    for attempt, outcome in old.items():
        if outcome is not None and now[attempt] is not outcome:
            raise AssertionError(f"the outcome of {attempt} changed")
        if outcome is None and started and now[attempt] is not Outcome.UNKNOWN:
            raise AssertionError(f"{attempt} was left open and has become {now[attempt]}")
    return now


def replay(records: list[Opened | Closed]) -> State:
    """What became of each attempt; AssertionError if one has two beginnings, two ends, or an end alone."""
    now: State = {}
    for record in records:
        if isinstance(record, Opened):
            if record.attempt in now:
                raise AssertionError(f"{record.attempt} was opened twice")
            now[record.attempt] = None
        elif now[record.attempt] is not None:
            raise AssertionError(f"{record.attempt} has two outcomes")
        else:
            now[record.attempt] = record.outcome
    return now


def kill(root: Path, kills: int, seed: int) -> dict[str, int]:
    """Kills so many runs and returns what was counted; raises AssertionError at the first broken promise."""
    chance = random.Random(seed)
    count = {"kills": 0, "before_ready": 0, "records": 0, "untold": 0, "unknown": 0, "segments": 0}
    while count["kills"] < kills:
        folder = root / f"folder-{count['kills']}"
        state: State = {}
        for _ in range(RUNS_PER_FOLDER):
            known = len(state) + sum(outcome is not None for outcome in state.values())
            started, steps = run_and_kill(folder, chance.randrange(2**32), chance.uniform(0.0005, 0.050))
            journal = folder / "journal"
            records = list(read(journal, _fail)) if journal.exists() else []
            state = judge(records, started, steps, state)
            count["kills"] += 1
            count["before_ready"] += not started
            count["untold"] += started and len(records) - known > len(steps)
            count["records"] += len(steps)
        last = FileJournal.start(folder / "journal", segment_bytes=SEGMENT_BYTES)
        if {opened.attempt for opened in last.unknown} != {
            number for number, end in state.items() if end is None
        }:
            raise AssertionError("the unknown ones are not those that were left open")
        last.stop()
        state = judge(list(read(folder / "journal", _fail)), True, [], state)
        if None in state.values():
            raise AssertionError("an attempt has no outcome")
        count["unknown"] += sum(outcome is Outcome.UNKNOWN for outcome in state.values())
        count["segments"] += len(list_segments(folder / "journal"))
    return count


def _fail(path: Path, damage: str) -> None:
    raise AssertionError(f"{path}: {damage}")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        print(json.dumps(kill(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
