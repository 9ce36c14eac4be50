"""The manifest: one entry a file; a new file replaces its own entry and leaves the others."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

from training import manifest


def entries(folder: Path) -> dict[str, dict[str, Any]]:
    read = tomllib.loads((folder / "manifest.toml").read_text(encoding="utf-8"))["model"]
    return {entry["name"]: entry for entry in read}


def test_a_file_is_entered_scored_and_made_anew(tmp_path: Path) -> None:
    one, other = tmp_path / "one.gguf", tmp_path / "other.onnx"
    one.write_bytes(b"first")
    other.write_bytes(b"second")
    manifest.record(one, skills=['says "hello"', "你好"], parameters=7)
    manifest.record(other, skills=[])
    manifest.add_scores(one, {"greeting": (39, 40)})
    manifest.add_scores(one, {"sum, small": (2, 3)})
    found = entries(tmp_path)
    assert list(found) == ["one", "other"]
    assert found["one"] == {
        "name": "one",
        "file": "one.gguf",
        "sha256": hashlib.sha256(b"first").hexdigest(),
        "bytes": 5,
        "skills": ['says "hello"', "你好"],
        "parameters": 7,
        "license": "Apache-2.0",
        "scores": {"greeting": "39 of 40", "sum, small": "2 of 3"},
    }
    one.write_bytes(b"third")
    manifest.record(one, parameters=8)
    assert entries(tmp_path)["one"]["sha256"] == hashlib.sha256(b"third").hexdigest()
    # Scores belong to the file that was scored.
    assert "scores" not in entries(tmp_path)["one"]
    assert entries(tmp_path)["other"] == found["other"]
