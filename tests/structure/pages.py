"""Reading docs/: sections by heading, and the rows of their tables. Knows nothing of what they should say."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def read(name: str) -> str:
    """The text of a page."""
    return (DOCS / name).read_text("utf-8")


def section(page: str, heading: str) -> str:
    """What stands below a second-level heading; fails when the page has none of that name."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert found, f"no section ## {heading}"
    return found[1]


def rows(words: str) -> dict[str, list[str]]:
    """The rows of the tables in a section, by what stands in backquotes in the first cell."""
    lines = [line.strip("|").split("|") for line in words.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells] for cells in lines}
