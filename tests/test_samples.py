"""What a newcomer pastes works as it stands: the request that `serve` prints, and README's samples."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.gates import RunningGate, wait_until
from tests.structure.pages import first_block

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
LIMIT_S = 120


def paste(gate: RunningGate, words: list[str], text: str) -> str:
    """Runs a sample with the gate's own address and key in it; returns what it prints."""
    result = subprocess.run(
        words,
        input=text.replace("http://127.0.0.1:8000", gate.url),
        env=os.environ | {"HEADGATE_KEY": gate.key},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr + gate.log
    return result.stdout


def words_of_stream(stream: str) -> str:
    """The text in a stream of chunks, which has to be well ended."""
    *events, done, last = stream.split("\n\n")
    assert (done, last) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if not event.startswith(":")]
    assert {chunk["model"] for chunk in chunks} == {"starter-chat"}
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


def test_the_request_that_a_first_start_prints(start_gate: Callable[..., RunningGate]) -> None:
    gate = start_gate(key=None)
    wait_until(lambda: gate.printed.rstrip().endswith("}'"), "the whole sample")
    made_key = re.search(r"^ +(sk-hg-\S+)$", gate.printed, re.MULTILINE)
    assert made_key
    sample = gate.printed[gate.printed.index("curl ") :]
    assert words_of_stream(paste(gate, ["bash"], f"set -e\n{sample}")).strip()
    gate.stop()
    kept = b"".join(
        path.read_bytes() for path in gate.folder.rglob("*") if path.name != "gate.out" and path.is_file()
    )
    assert made_key[1].encode() not in kept, "the key is kept in clear"


def test_readme_streams_an_answer(start_gate: Callable[..., RunningGate]) -> None:
    sample = next(block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "curl" in block)
    assert words_of_stream(paste(start_gate(), ["bash"], f"set -e\n{sample}")).strip()


def test_readme_uses_the_official_sdk(start_gate: Callable[..., RunningGate]) -> None:
    answer = paste(start_gate(), [sys.executable, "-W", "error", "-"], first_block(README, "python"))
    assert "Paris" in answer
