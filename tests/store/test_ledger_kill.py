"""kill -9 of who writes the journal and who carries it, at random instants: each attempt has one entry."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from sqlalchemy import select

from headgate.core.ports import Outcome
from headgate.store.database import URL_VARIABLE, Database, Place
from headgate.store.schema_ledger import entries, instances
from tests.store.attempts import carried, carrier, carry_all, expect_sums, truth

KILLS = 30


def test_a_storm_of_kills_leaves_each_attempt_one_entry(ready: Place, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    environment = dict(os.environ) | ({URL_VARIABLE: ready.url.reveal()} if ready.url else {})
    storm = subprocess.run(
        [sys.executable, "-m", "tests.store.ledger_storm", str(tmp_path), str(KILLS), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert storm.returncode == 0, f"seed {seed}:\n{storm.stderr}"
    assert "Traceback" not in storm.stderr, f"seed {seed}:\n{storm.stderr}"
    database = Database(ready)
    with database.reading() as connection:
        batches = connection.execute(select(instances.c.batches)).scalar_one()
    before = len(carried(database))
    carry_all(carrier(database, tmp_path))
    expected = truth(tmp_path)
    print(f"seed {seed}: {len(expected)} attempts, {before} carried by {batches} batches that lived")
    assert carried(database) == Counter(expected.keys())
    with database.reading() as connection:
        for row in connection.execute(select(entries)):
            closed = expected[row.attempt]
            found = (row.outcome, row.input_tokens, row.output_tokens, row.price_nanodollars)
            usage = closed.usage
            assert found == (
                closed.outcome,
                usage.input_tokens,
                usage.output_tokens,
                closed.charge.price_nanodollars,
            )
    expect_sums(database)
    database.close()
    # It must have been a storm: much was carried while it raged, and attempts were open when it struck.
    assert before > len(expected) / 10
    assert batches > KILLS
    unknown = [closed for closed in expected.values() if closed.outcome is Outcome.UNKNOWN]
    assert len(unknown) > 20
    assert {closed.charge.price_nanodollars for closed in unknown} == {1000}, "settled within what was held"
