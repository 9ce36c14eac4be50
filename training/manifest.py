"""The package's manifest: one entry a file, with its hash, what it is and how it scored.

A script that makes a model writes its own entry, one that scores it adds the scores; the others stay.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1] / "packages/headgate-starter/src/headgate_starter"

Entry = dict[str, Any]


def _read(folder: Path) -> list[Entry]:
    path = folder / "manifest.toml"
    entries: list[Entry] = tomllib.loads(path.read_text(encoding="utf-8"))["model"] if path.exists() else []
    return entries


def _text(entries: list[Entry]) -> str:
    lines = ["# Written by `make starter`: training/manifest.py."]
    for entry in entries:
        lines += ["", "[[model]]"]
        tables = {key: value for key, value in entry.items() if isinstance(value, dict)}
        lines += [
            f"{key} = {json.dumps(value, ensure_ascii=False)}"
            for key, value in entry.items()
            if key not in tables
        ]
        for name, table in tables.items():
            lines += [f"[model.{name}]"]
            lines += [
                f"{json.dumps(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()
            ]
    return "\n".join(lines) + "\n"


def _write(folder: Path, entry: Entry) -> None:
    entries = [entry if each["name"] == entry["name"] else each for each in _read(folder)]
    if entry not in entries:
        entries.append(entry)
    (folder / "manifest.toml").write_text(_text(entries), encoding="utf-8")


def record(path: Path, **described: Any) -> None:
    """Enter a file that was just made in the manifest beside it; an older one's entry is forgotten."""
    entry = {
        "name": path.stem,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        **described,
        "license": "Apache-2.0",
    }
    _write(path.parent, entry)


def add_scores(path: Path, scores: dict[str, tuple[int, int]]) -> None:
    """Right answers and questions of each skill, for a file that is entered."""
    entry = next(each for each in _read(path.parent) if each["file"] == path.name)
    shown = {skill: f"{right} of {asked}" for skill, (right, asked) in scores.items()}
    _write(path.parent, entry | {"scores": entry.get("scores", {}) | shown})
