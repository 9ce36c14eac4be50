"""Every fault a few times, whole and streamed, alone and in the mix, against a real gate.

`make faults` does it ten thousand times.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.storm import Result, storm
from tests.faults.table import FAULTS, Fault

EACH = 8
"""Requests per fault: half of them streams; two of the eight go to the mix where the fault has a script."""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return asyncio.run(storm(tmp_path_factory.mktemp("faults"), EACH * len(FAULTS), at_once=64))


def test_every_request_ends_as_it_may(result: Result) -> None:
    result.check()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_was_met(result: Result, fault: Fault) -> None:
    assert result.rows[fault.name].ends.total() == EACH
    if fault.place == "plain":
        assert result.asked[fault.name] > 0
