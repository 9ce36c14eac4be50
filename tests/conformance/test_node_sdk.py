"""OpenAI's Node SDK, unchanged, over a real socket; the checks themselves are in node/conformance.mjs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.gates import RunningGate

FOLDER = Path(__file__).parent / "node"


def test_the_node_sdk(starter_gate: RunningGate) -> None:
    if shutil.which("node") is None or not (FOLDER / "node_modules" / "openai").is_dir():
        pytest.skip("needs Node.js 20 with npm: `make test` then installs OpenAI's SDK for it")
    done = subprocess.run(
        ["node", "conformance.mjs"],
        cwd=FOLDER,
        env={"PATH": os.environ["PATH"], "HEADGATE_URL": starter_gate.url, "HEADGATE_KEY": starter_gate.key},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "all held" in done.stdout
