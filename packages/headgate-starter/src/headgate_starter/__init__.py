"""The starter models' weights as files, and what is known of each; no code here runs a model."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FOLDER", "STARTER_CHAT", "StarterModel", "models"]

FOLDER = Path(__file__).parent
"""The folder that holds the weights and `manifest.toml`."""

STARTER_CHAT = FOLDER / "starter-chat.gguf"
"""The chat model, a GGUF file for llama.cpp."""


@dataclass(frozen=True)
class StarterModel:
    """One entry of the manifest: `context` in tokens (0 for none), `size` in bytes, `skills` in words.

    `scores` are right answers of questions asked, a skill at a time; `engine` is the program that runs it.
    """

    name: str
    engine: str
    path: Path
    sha256: str
    size: int
    parameters: int
    quantization: str
    context: int
    languages: tuple[str, ...]
    skills: tuple[str, ...]
    made_by: str
    scores: Mapping[str, str]

    def is_intact(self) -> bool:
        """Whether the file on disk is the one the manifest was written for."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest() == self.sha256


def models() -> dict[str, StarterModel]:
    """Every model of the manifest by name."""
    entries = tomllib.loads((FOLDER / "manifest.toml").read_text(encoding="utf-8"))["model"]
    return {
        entry["name"]: StarterModel(
            name=entry["name"],
            engine=entry["engine"],
            path=FOLDER / entry["file"],
            sha256=entry["sha256"],
            size=entry["bytes"],
            parameters=entry["parameters"],
            quantization=entry["quantization"],
            context=entry.get("context", 0),
            languages=tuple(entry["languages"]),
            skills=tuple(entry["skills"]),
            made_by=entry["made_by"],
            scores=entry.get("scores", {}),
        )
        for entry in entries
    }
