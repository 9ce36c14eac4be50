"""`python -m tests.fuzz [COUNT] [SEED]`: mutated requests against a real gate, 50,000 unless COUNT says."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.session import fuzz

COUNT = 50_000


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 1_000_000
    print(f"{count} requests from seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        report = fuzz(Path(folder), count, seed)
    print(report)


if __name__ == "__main__":
    main()
