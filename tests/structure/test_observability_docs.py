"""docs/observability.md names every metric and every field of a line, with kind and labels; and no others."""

from __future__ import annotations

import re

import msgspec
import pytest

from headgate.telemetry.counters import MOST_SERIES
from headgate.telemetry.lines import Line
from headgate.telemetry.metrics import ROWS, Row
from tests.structure.pages import read, rows, section

PAGE = read("observability.md")
METRICS = rows(section(PAGE, "Metrics"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_metric_is_documented_as_it_is(row: Row) -> None:
    _, kind, labels, meaning = METRICS[row.name]
    assert kind == row.kind
    assert labels == ", ".join(row.labels)
    assert meaning, "says nothing about what it is for"


def test_no_metric_is_documented_that_is_not_there() -> None:
    assert METRICS.keys() == {row.name for row in ROWS}
    assert set(re.findall(r"\bheadgate_[a-z_]+", PAGE)) <= {
        row.name + suffix for row in ROWS for suffix in ("", "_bucket")
    }


def test_every_field_of_a_line_is_documented_and_no_other() -> None:
    table = [line.split("|")[1] for line in section(PAGE, "Log").splitlines() if line.startswith("| `")]
    documented = set(re.findall(r"`(\w+)`", " ".join(table)))
    assert documented == {field.name for field in msgspec.structs.fields(Line)} - {"time"}


def test_the_cap_is_the_one_that_is_documented() -> None:
    assert f"After {MOST_SERIES}\ncombinations" in PAGE
