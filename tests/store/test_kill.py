"""kill -9 at random instants: the journal holds every record that was told of, and at most one more."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

KILLS = 60


def test_a_storm_of_kills_loses_no_record_and_invents_none(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    storm = subprocess.run(
        [sys.executable, "-m", "tests.store.storm", "kill", str(tmp_path), str(KILLS), str(seed)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert storm.returncode == 0, f"seed {seed}:\n{storm.stderr}"
    count = json.loads(storm.stdout)
    print(count)
    assert count["kills"] == KILLS
    # It must have been a storm: kills while starting and while writing, across segments, with attempts open.
    assert count["kills"] - count["before_ready"] > KILLS / 10
    assert count["records"] > 1000
    assert count["unknown"] > 50
    assert count["segments"] > KILLS / 10
