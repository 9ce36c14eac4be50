"""Reading docs/: sections by heading, rows of tables, examples. Knows nothing of what they should say."""

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


def first_block(page: str, language: str) -> str:
    """The first fenced example in a language; fails when there is none."""
    found = re.search(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert found, f"no example in {language}"
    return found[1]


class AnyPlace:
    """A world in which every variable is set and every path is where it says, for parsing examples."""

    def secret(self, kind: str, name: str) -> str:
        return f"{kind}-{name}"

    def file(self, path: str) -> str:
        return path

    def place(self, path: str) -> str:
        return path
