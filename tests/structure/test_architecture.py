"""ARCHITECTURE.md draws the code that is there: every file on the map, nothing on it that is gone."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[2]


def mapped() -> set[str]:
    """The files on the map, as paths below src/headgate; `name_*.py` stands for a family."""
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    drawing = page[page.index("    src/headgate/\n") : page.index("    packages/")]
    files, folder = set(), ""
    for line in drawing.splitlines()[1:]:
        if found := re.match(r" {6}(?P<inner>  )?(?P<name>[\w.*]+)(?P<is_folder>/)?", line):
            folder = folder if found["inner"] else ""
            if found["is_folder"]:
                folder = f"{found['name']}/"
            else:
                files.add(folder + found["name"])
    return files


def test_the_map_shows_every_file() -> None:
    source = ROOT / "src/headgate"
    there = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and path.name != "__init__.py"
    }
    missing = sorted(name for name in there if not any(fnmatchcase(name, entry) for entry in mapped()))
    gone = sorted(entry for entry in mapped() if not any(fnmatchcase(name, entry) for name in there))
    assert not missing, "not on the map in ARCHITECTURE.md"
    assert not gone, "on the map in ARCHITECTURE.md, but not there"
