"""Short ways to write and judge journal records, with segments so small that tests see many of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headgate.core.errors import StoreFull
from headgate.core.ports import Closed, Opened, Outcome
from headgate.core.usage import Source, Usage
from headgate.store.journal import FileJournal, read
from headgate.store.reader import list_segments

SEGMENT_BYTES = 32 * 1024
USAGE = Usage(Source.REPORTED, 11, 3, 22, 5)


def start(folder: Path, **settings: Any) -> FileJournal:
    """A journal with small segments."""
    return FileJournal.start(folder, **{"segment_bytes": SEGMENT_BYTES, **settings})


def open_one(journal: FileJournal, model: str = "gpt-4o-mini") -> int:
    return journal.open("req_1", "master", "chat.completions", model, "local", "starter-chat")


def close_one(journal: FileJournal, attempt: int) -> None:
    journal.close(attempt, Outcome.OK, 200, USAGE)


def fill(journal: FileJournal, count: int) -> list[int]:
    """Opens and closes `count` attempts."""
    attempts = []
    for _ in range(count):
        attempts.append(open_one(journal))
        close_one(journal, attempts[-1])
    return attempts


def sound(folder: Path) -> list[Opened | Closed]:
    """Every record of a journal in which nothing is damaged."""
    damage: list[str] = []
    records = list(read(folder, lambda path, what: damage.append(f"{path}: {what}")))
    assert not damage
    return records


def outcomes(records: list[Opened | Closed]) -> dict[int, list[Closed]]:
    """What became of each opened attempt, and of nothing else."""
    found: dict[int, list[Closed]] = {record.attempt: [] for record in records if isinstance(record, Opened)}
    assert len(found) == sum(isinstance(record, Opened) for record in records), "an attempt number came twice"
    for record in records:
        if isinstance(record, Closed):
            found[record.attempt].append(record)
    return found


def fill_until_the_next_is_made(journal: FileJournal, folder: Path) -> list[int]:
    """Opens and closes attempts until the journal has asked for another segment and has it."""
    made = len(list_segments(folder))
    attempts = []
    while journal._low_room:
        attempts += fill(journal, 1)
    wait_until(lambda: len(list_segments(folder)) > made)
    return attempts


def open_until_refused(journal: FileJournal) -> tuple[list[int], str]:
    """Opens attempts until there is no room; their numbers, and how that was said."""
    attempts = []
    while True:
        try:
            attempts.append(open_one(journal))
        except StoreFull as error:
            return attempts, str(error)


def wait_until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Returns as soon as the condition holds; fails after the timeout."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)
