"""`make compare`: asks both, explains every difference, and fails for one that no class explains."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import interpreter
from bench.compare.asked import requests
from bench.compare.classes import CLASSES, REFUSALS
from bench.compare.ours import sent

Json = dict[str, Any]

HERE = Path(__file__).resolve().parent
RESULT = HERE / "result.json"
SHOWN = 5
"""Differences without an explanation that are printed in full."""

OURS = {"anthropic": "claude-opus-4-6", "gemini": "gemini-3.5-flash"}
THEIRS = {name: [f"{name}/{model}", "http://127.0.0.1:PORT"] for name, model in OURS.items()}


def theirs(asked: list[Json]) -> dict[str, list[Json]]:
    """What LiteLLM sends, in an environment of its own, with its table of models as it was installed."""
    python = interpreter.environment("litellm", HERE.parent / "litellm" / "requirements.txt")
    done = subprocess.run(
        [python, "-P", HERE / "theirs.py"],
        input=json.dumps({"requests": asked, "models": THEIRS}),
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, list[Json]] = json.loads(done.stdout)
    return found


def explain(name: str, request: Json, ours: Json, other: Json) -> tuple[list[str], Json | None]:
    """The classes of difference between two answers, and what none of them explains."""
    if "error" in ours:
        for beginning, (called, _) in REFUSALS.items():
            if ours["error"].startswith(beginning):
                return [called], None
    if ours.get("body") is None or other.get("body") is None:
        return [], {"ours": ours, "theirs": other}
    mine, yours = copy.deepcopy(ours["body"]), copy.deepcopy(other["body"])
    seen = []
    for found in CLASSES[name]:
        before = json.dumps([mine, yours], sort_keys=True)
        found.rule(request, mine, yours)
        if json.dumps([mine, yours], sort_keys=True) != before:
            seen.append(found.name)
    return seen, None if mine == yours else {"ours": mine, "theirs": yours}


def main() -> None:
    """Writes `result.json` and says what it holds."""
    asked = requests()
    mine, yours = sent(asked, OURS), theirs(asked)
    result: Json = {}
    unexplained: list[Json] = []
    for name in CLASSES:
        counts = dict.fromkeys([*(c.name for c in CLASSES[name]), *(r[0] for r in REFUSALS.values())], 0)
        same = 0
        for request, ours, other in zip(asked, mine[name], yours[name], strict=True):
            seen, left = explain(name, request, ours, other)
            same += not seen and left is None
            for called in seen:
                counts[called] += 1
            if left is not None:
                unexplained.append({"dialect": name, "request": request, **left})
        told = {called: count for called, count in counts.items() if count}
        result[name] = {"requests": len(asked), "same": same, "differ": told}
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))
    for one in unexplained[:SHOWN]:
        print(json.dumps(one, indent=1), file=sys.stderr)
    if unexplained:
        sys.exit(f"{len(unexplained)} differences are not explained")


if __name__ == "__main__":
    main()
