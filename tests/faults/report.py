"""Writes what a run has counted into docs/reliability.md, between two marks. Knows no gate."""

from __future__ import annotations

from pathlib import Path

from tests.faults.storm import STEP_MS, TOTAL_MS, Result
from tests.faults.table import FAULTS, Fault

PAGE = Path(__file__).parents[2] / "docs/reliability.md"
BEGIN = "<!-- What follows is written by `make faults`. -->"
END = "<!-- End of what `make faults` wrote. -->"

MEBIBYTE = 1024 * 1024


def table(result: Result) -> str:
    """A row for each fault, and what held for all of them."""
    lines = [
        "| the upstream | what it does | requests | asked there | how they ended | slowest |",
        "|---|---|---:|---:|---|---:|",
    ]
    for fault in FAULTS:
        row = result.rows[fault.name]
        # The most frequent end first; nothing is said of those that did not happen.
        ends = ", ".join(f"{count} {name}" for name, count in row.ends.most_common())
        lines.append(
            f"| {fault.name} | {fault.words} | {row.ends.total()} | {_asked(fault, result)} | {ends} "
            f"| {row.slowest_ms / 1000:.1f} s |"
        )
    requests = sum(row.ends.total() for row in result.rows.values())
    memory = ", ".join(f"{size / MEBIBYTE:.0f}" for size in result.memory_bytes)
    summary = (
        f"{requests:,} requests in {result.seconds:.0f} s; most tries of one request: "
        f"{max(result.tries.values())}; the gate's memory from first to last, in MiB: {memory}. "
        f"Limits of this run: {STEP_MS / 1000:g} s for each step of an upstream, {TOTAL_MS / 1000:g} s for a "
        "request."
    )
    lines += ["", summary]
    return "\n".join(lines)


def _asked(fault: Fault, result: Result) -> str:
    unseen = fault.place not in ("plain", "changing")
    return "nobody" if unseen and not result.asked[fault.name] else str(result.asked[fault.name])


def write(result: Result) -> None:
    """Puts the table into the page."""
    page = PAGE.read_text("utf-8")
    begin, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    PAGE.write_text(f"{page[:begin]}\n\n{table(result)}\n\n{page[end:]}", "utf-8")
