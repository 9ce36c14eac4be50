"""A program that writes a journal and carries it in two children, and kills one or both, again and again.

Run as `python -m tests.store.ledger_storm FOLDER KILLS SEED`, with HEADGATE_DATABASE_URL for PostgreSQL. It
keeps no threads of its own, so that it may fork.
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
from collections.abc import Callable
from pathlib import Path

from headgate.core.accounting import Charge, Held
from headgate.core.errors import StoreError
from headgate.core.ports import Outcome
from headgate.core.usage import Source, Usage
from headgate.store.database import URL_VARIABLE, Database, place
from headgate.store.folder import DataFolder
from headgate.store.journal import FileJournal
from headgate.store.ledger import Outdated
from tests.store.attempts import carrier
from tests.store.records import SEGMENT_BYTES

RUNS_PER_WRITER = 3
"""How often a carrier is killed, on average, while a writer lives on."""


def write(folder: Path, seed: int) -> None:
    """Opens and closes attempts without rest; a pace keeps the carrier near."""
    chance = random.Random(seed)
    with DataFolder.open(folder):
        journal = FileJournal.start(folder / "journal", segment_bytes=SEGMENT_BYTES, carried=True)
        waiting: list[int] = []
        while True:
            if len(waiting) < chance.randrange(20):
                key = f"key_{chance.randrange(20)}"
                held = Held(9, 700, 1000, f"team_{key[-1]}", "ann")
                waiting.append(journal.open("req", key, "chat.completions", "gpt", "far", "gpt-4", held))
            elif waiting:
                number = waiting.pop(chance.randrange(len(waiting)))
                usage = Usage(Source.REPORTED, number % 1000, 0, number % 77)
                journal.close(number, Outcome.OK, 200, usage, Charge(number % 500, number % 900))
            if chance.random() < 0.05:
                time.sleep(0.002)


def carry(folder: Path, seed: int, told: int) -> None:
    """Carries without rest, in batches of every size; tells of each."""
    chance = random.Random(seed)
    database = Database(place(folder, os.environ.get(URL_VARIABLE)))
    one = carrier(database, folder)
    while True:
        one._batch_entries = chance.choice([1, 20, 300])
        try:
            if one.carry():
                os.write(told, b".")
            else:
                time.sleep(0.001)
        except Outdated:
            raise
        except StoreError:
            time.sleep(0.01)  # a killed carrier's transaction may still be ended by the server


def begin(work: Callable[..., None], *given: object) -> int:
    """Starts a child that does nothing else."""
    child = os.fork()
    if child == 0:
        try:
            work(*given)
        except BaseException:  # noqa: BLE001 - a forked child must never fall through into its parent's code
            traceback.print_exc()
        os._exit(1)
    return child


def kill(child: int) -> None:
    """Ends a child at once; AssertionError if it had ended by itself."""
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise AssertionError(f"a child ended by itself: {status}")


def wait(heard: int, batches: int) -> None:
    """Returns when so many batches were told of, or it takes too long."""
    for _ in range(batches):
        if not select.select([heard], [], [], 2.0)[0]:
            return
        os.read(heard, 1)


def main(folder: Path, kills: int, seed: int) -> None:
    """Kills so many children, then settles what they left behind."""
    chance = random.Random(seed)
    done = 0
    heard, told = os.pipe()
    while done < kills:
        writer = begin(write, folder, chance.randrange(2**32))
        for _ in range(chance.randrange(1, 2 * RUNS_PER_WRITER)):
            carrying = begin(carry, folder, chance.randrange(2**32), told)
            wait(heard, chance.randrange(8))
            time.sleep(chance.uniform(0.0, 0.02))
            if chance.random() < 0.3:
                kill(writer)
                writer = begin(write, folder, chance.randrange(2**32))
                done += 1
            kill(carrying)
            done += 1
        kill(writer)
        done += 1
    with DataFolder.open(folder):
        FileJournal.start(folder / "journal", segment_bytes=SEGMENT_BYTES, carried=True).stop()
    print(json.dumps({"kills": done}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
