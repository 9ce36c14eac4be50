"""The tour of the page works as it stands: every entry of the navigation, with curl and the official SDK."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gates import RunningGate

TOUR = Path(__file__).parents[1] / "docs" / "tour"
LIMIT_S = 170

ENTRIES = (
    "创建语音",
    "创建转录",
    "创建翻译",
    "Chat Completions",
    "流式返回",
    "调用工具",
    "自动补全",
    "嵌入",
    "列出模型",
)


@pytest.mark.parametrize("words", [["sh", "tour.sh"], [sys.executable, "tour.py"]], ids=["curl", "sdk"])
def test_every_entry_is_answered(words: list[str], start_gate: Callable[..., RunningGate]) -> None:
    gate = start_gate()
    result = subprocess.run(
        words,
        cwd=TOUR,
        env=os.environ | {"HEADGATE_URL": gate.url, "HEADGATE_KEY": gate.key},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr + gate.log
    titles = "".join(re.findall(r"^== (.*)$", result.stdout, re.MULTILINE))
    assert [entry for entry in ENTRIES if entry not in titles] == []


def test_the_tour_of_the_money_ends_with_the_books_as_they_were() -> None:
    result = subprocess.run(
        [sys.executable, "money.py"], cwd=TOUR, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    assert result.stdout.count("== ") == 5
