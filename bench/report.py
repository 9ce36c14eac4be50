"""Shows results: as text, as .bench/results.json, as the table in docs/benchmarks.md. Knows no sockets."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.measures import Row
from bench.ratios import Spread

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def cell(row: Row, contestant: str) -> str:
    """One contestant's cell: its spread, or why it has none."""
    value = row.cells.get(contestant)
    if value is None:
        return "-"
    return value.shown(row.digits) if isinstance(value, Spread) else "failed"


def _one_line(reason: str) -> str:
    # A table's footnote has no room for a traceback, and a pipe would end its cell.
    return " ".join(reason.split()).replace("|", "/")[:200]


def verdict(row: Row) -> str:
    """Whether Headgate reached the row's target: `met`, `missed`, `VOID`, or nothing to judge."""
    value = row.cells.get("headgate")
    if row.void:
        return "VOID"
    if row.target is None or value is None:
        return ""
    if isinstance(value, str):
        return "failed"
    return "met" if row.target.met(value.median) else "missed"


def text(rows: Sequence[Row], contestants: Sequence[str]) -> str:
    """The results for a terminal, one row after another."""
    lines = []
    for row in rows:
        lines.append(f"{row.name} ({row.unit})" + (f", target {row.target.shown()}" if row.target else ""))
        for contestant in contestants:
            value = row.cells.get(contestant)
            if value is None:
                continue
            shown = value.shown(row.digits) if isinstance(value, Spread) else f"failed: {_one_line(value)}"
            note = f"   {verdict(row)}" if contestant == "headgate" else ""
            lines.append(f"    {contestant:9} {shown}{note}")
        if row.void:
            lines.append(f"    VOID: {row.void}")
    return "\n".join(lines)


def markdown(rows: Sequence[Row], contestants: Sequence[str], machine: str, day: str) -> str:
    """The results as a Markdown table with a line about when and on what they were taken."""
    lines = [f"Taken {day} on: {machine}. Each cell: median of the rounds (smallest-largest).", ""]
    lines.append("| measure | unit | target | " + " | ".join(contestants) + " | Headgate |")
    lines.append("|---|---|---|" + "---|" * (len(contestants) + 1))
    for row in rows:
        target = row.target.shown() if row.target else ""
        cells = " | ".join(cell(row, contestant) for contestant in contestants)
        lines.append(f"| {row.name} | {row.unit} | {target} | {cells} | {verdict(row)} |")
    lines += [f"\nVOID, {row.name}: {row.void}." for row in rows if row.void]
    for row in rows:
        for name, value in row.cells.items():
            if isinstance(value, str):
                lines.append(f"\nFailed, {name}, {row.name}: {_one_line(value)}")
    return "\n".join(lines)


def as_json(rows: Sequence[Row], machine: str, day: str) -> str:
    """Everything, with each round's absolute values."""
    result: dict[str, Any] = {"day": day, "machine": machine, "rows": [asdict(row) for row in rows]}
    return json.dumps(result, indent=1)


def update_document(document: Path, block: str) -> None:
    """Puts `block` between the markers in a document. Raises ValueError where they are missing."""
    old = document.read_text()
    if old.count(BEGIN) != 1 or old.count(END) != 1 or old.index(BEGIN) > old.index(END):
        raise ValueError(f"{document.name} needs one '{BEGIN}' before one '{END}'")
    before, after = old.partition(BEGIN)[0], old.partition(END)[2]
    document.write_text(f"{before}{BEGIN}\n{block}\n{END}{after}")
