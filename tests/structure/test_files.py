"""House rules that a machine can check: sizes, names, opening lines, whose names may stand where."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/headgate"
CODE_FOLDERS = ("src", "tests", "bench", "training", "packages")
TEXT_SUFFIXES = {".py", ".toml", ".md", ".json", ".mjs", ".js", ".jinja", ".txt"}

LOOK_AGAIN_LINES = 400
WALL_LINES = 600
SCREEN_LINES = 70
"""A function's height, signature and docstring included."""

LOOKED_AT: dict[str, str] = {}
"""Source files over 400 lines, each with the reason why it stays whole."""

NAMES_THAT_SAY_NOTHING = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}

PROVIDERS = (
    "ai21",
    "anthropic",
    "azure",
    "bedrock",
    "cerebras",
    "claude",
    "cohere",
    "dashscope",
    "deepseek",
    "fireworks",
    "gemini",
    "groq",
    "litellm",
    "mistral",
    "moonshot",
    "ollama",
    "openrouter",
    "perplexity",
    "portkey",
    "vertex",
    "xai",
)
"""Vendors and rivals. `openai` is not among them: here it names the wire format that we serve."""
MAY_NAME_PROVIDERS = ("backends", "dialects")


def python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "node_modules" not in path.parts:
                yield path


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def line_count(path: Path) -> int:
    return path.read_text("utf-8").count("\n")


def test_no_source_file_passes_the_wall() -> None:
    assert not [
        f"{name_of(path)}: {lines}"
        for path in python_files("src")
        if (lines := line_count(path)) > WALL_LINES
    ]


def test_a_long_source_file_has_a_reason() -> None:
    long = {name_of(path) for path in python_files("src") if line_count(path) > LOOK_AGAIN_LINES}
    assert long == set(LOOKED_AT), "over 400 lines: split it, or say here why it stays whole"


def test_functions_fit_a_screen() -> None:
    tall = []
    for path in python_files("src", "bench", "training", "packages"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > SCREEN_LINES:
                    tall.append(f"{name_of(path)}:{node.lineno} {node.name}: {lines} lines")
    assert not tall


def test_every_module_says_what_it_owns() -> None:
    silent = [
        name_of(path)
        for path in python_files(*CODE_FOLDERS)
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert not silent


def test_names_say_something() -> None:
    assert not [
        name_of(path)
        for path in python_files(*CODE_FOLDERS)
        if NAMES_THAT_SAY_NOTHING & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
    ]


def test_providers_are_named_only_where_they_are_spoken_to() -> None:
    pattern = re.compile(rf"\b({'|'.join(PROVIDERS)})", re.IGNORECASE)
    named = []
    for path in sorted(SOURCE.rglob("*")):
        if path.suffix not in TEXT_SUFFIXES or path.relative_to(SOURCE).parts[0] in MAY_NAME_PROVIDERS:
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            # The one list outside: what an operator may write under `dialect`.
            if "dialect: Literal[" not in line and (match := pattern.search(line)):
                named.append(f"{name_of(path)}:{number}: {match.group()}")
    assert not named


@pytest.mark.parametrize("folder", [*CODE_FOLDERS, "docs"])
def test_nothing_is_left_for_later(folder: str) -> None:
    pattern = re.compile(r"\b(TODO|FIXME|XXX)\b|\braise NotImplementedError\b")
    left = []
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix not in TEXT_SUFFIXES or "node_modules" in path.parts or path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if pattern.search(line):
                left.append(f"{name_of(path)}:{number}: {line.strip()[:80]}")
    assert not left


def test_the_changelog_knows_this_version() -> None:
    version = re.search(r'__version__ = "(.+)"', (SOURCE / "__init__.py").read_text("utf-8"))
    assert version
    assert f"## [{version.group(1)}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
