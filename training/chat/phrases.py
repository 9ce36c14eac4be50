"""What is in facts.toml, phrases.toml and tools.toml, under typed names; the sentences live there, not here.

Most is by language: "en" or "zh".
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "zh")


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))


_facts, _phrases = _table("facts.toml"), _table("phrases.toml")

# English country, English capital, Chinese country, Chinese capital.
CAPITALS: list[list[str]] = _facts["capitals"]
COUNTRY_SPELLINGS: dict[str, list[str]] = _facts["country_spellings"]
CITIES: dict[str, list[str]] = {language: _facts[f"cities_{language}"] for language in LANGUAGES}
PEOPLE: dict[str, list[str]] = {language: _facts[f"people_{language}"] for language in LANGUAGES}
PLACE_CHARACTERS: str = _facts["place_characters"]
FAMILY_NAMES: str = _facts["family_names"]
CONSONANTS: list[str] = _facts["consonants"]
VOWELS: list[str] = _facts["vowels"]
ENDINGS: list[str] = _facts["endings"]

SYSTEMS: list[str] = _phrases["systems"]
# Hello, who are you, how are you, thanks, goodbye; each with the questions that share one answer.
SMALL_TALK: dict[str, list[dict[str, Any]]] = _phrases["small_talk"]
QUESTIONS: dict[str, dict[str, list[str]]] = _phrases["questions"]
ANSWERS: dict[str, dict[str, str]] = _phrases["answers"]

# Per kind of tool: names, parameters, descriptions, questions, answer; besides, what is common to all.
TOOLS: dict[str, dict[str, Any]] = _table("tools.toml")
