"""`make faults`: ten thousand requests through every fault, and the table in docs/reliability.md.

It ends with an error, and writes nothing, when anything happened that must not.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from tests.faults.report import table, write
from tests.faults.storm import storm


def main() -> None:
    """Reads the command line, runs, checks, writes."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=100, help="clients that ask at the same time")
    parser.add_argument("--seed", type=int, default=1, help="decides the order")
    parser.add_argument("--dry", action="store_true", help="print the table instead of writing it")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headgate-faults-") as folder:
        result = asyncio.run(storm(Path(folder), words.requests, at_once=words.at_once, seed=words.seed))
    print(table(result))
    result.check()
    if not words.dry:
        write(result)


if __name__ == "__main__":
    main()
