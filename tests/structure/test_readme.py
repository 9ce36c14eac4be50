"""README.md and its neighbours promise only what is there: links, make targets, samples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headgate.core.settings_text import parse
from tests.structure.pages import AnyPlace, first_block

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert not [target for target in targets if "://" not in target and not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE)) <= targets


def test_the_configuration_in_the_readme_can_be_used() -> None:
    example = first_block((ROOT / "README.md").read_text("utf-8"), "toml")
    settings = parse(example, "README.md", outside=AnyPlace())
    assert {"gpt-4o-mini", "gpt-4o"} == settings.models().keys()
