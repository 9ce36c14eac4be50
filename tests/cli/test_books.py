"""Keys, teams, prices and usage from a shell: on the database itself, and seen by a gate that runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.gates import open_gate
from tests.models.bigram import write_bigram


class Shell:
    """A data folder and what is typed about it."""

    def __init__(self, folder: Path) -> None:
        self._environment = {name: value for name, value in os.environ.items() if "HEADGATE" not in name}
        self._environment["HEADGATE_DATA"] = str(folder)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "headgate", *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)

    def say(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def json(self, *words: str) -> Any:
        return json.loads(self.say(*words, "--json"))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "data")


def test_a_key_is_made_listed_and_deleted(shell: Shell) -> None:
    made = shell.json("keys", "create", "bob", "--model", "gpt*", "--requests-per-minute", "5")
    assert made["secret"].startswith("sk-hg-")
    (key,) = shell.json("keys", "list")
    assert (key["id"], key["name"], key["models"]) == (made["id"], "bob", ["gpt*"])
    assert key["limits"] == {"requests_per_minute": 5}
    table = shell.say("keys", "list", "--search", "bob")
    assert "requests_per_minute=5" in table
    assert made["secret"] not in table
    shell.say("keys", "disable", made["id"])
    assert shell.json("keys", "list")[0]["disabled"] is True
    assert shell.say("keys", "rotate", made["id"], "--grace-hours", "1") != made["secret"]
    shell.say("keys", "delete", made["id"])
    assert shell.json("keys", "list") == []


def test_a_team_has_a_balance_and_a_budget(shell: Shell) -> None:
    team = shell.say("teams", "create", "red", "--prepaid")
    shell.say("teams", "credit", team, "5.25", "--note", "invoice 7")
    shell.say("teams", "credit", team, "--", "-0.000000001")
    shell.say("teams", "budget", team, "1", "--period", "day")
    (found,) = shell.json("teams", "list")
    assert (found["id"], found["prepaid"], found["balance"]) == (team, True, "5.249999999")
    shell.say("teams", "delete", team)
    assert shell.json("teams", "list") == []


def test_prices_are_exact_text(shell: Shell) -> None:
    price = shell.say("prices", "add", "gpt*", "--input", "2.50", "--output", "10")
    (found,) = shell.json("prices", "list")
    assert (found["id"], found["price"]) == (price, {"input": "2.50", "output": "10"})
    refused = shell.run("prices", "add", "x", "--input", "1e3", "--output", "1")
    assert (refused.returncode, "--input" in refused.stderr) == (2, True)
    shell.say("prices", "delete", price)
    assert shell.json("prices", "list") == []


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "delete", "key_nobody"),
        ("keys", "create", "x", "--team", "team_nobody"),
        ("teams", "credit", "team_nobody", "1"),
        ("teams", "budget", "team_nobody", "1"),
        ("prices", "delete", "price_nothing"),
    ],
)
def test_what_is_not_there_is_told_in_a_line(shell: Shell, words: tuple[str, ...]) -> None:
    refused = shell.run(*words)
    assert refused.returncode == 1
    assert refused.stderr.startswith("headgate: ")
    assert refused.stderr.count("\n") == 1


def test_a_running_gate_sees_what_a_shell_does_and_the_shell_what_was_used(tmp_path: Path) -> None:
    model = write_bigram(tmp_path / "talker.gguf", "Good day.")
    toml = f'[[engine]]\nname = "talker"\nmodel = "{model}"\n'
    with open_gate(tmp_path / "gate", toml) as gate:
        shell = Shell(tmp_path / "gate" / "data")
        secret = shell.json("keys", "create", "bob")["secret"]
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{gate.port}/v1", api_key=secret, max_retries=0)

        def ask() -> bool:
            try:
                client.chat.completions.create(model="talker", messages=[{"role": "user", "content": "hi"}])
            except openai.AuthenticationError:
                return False
            return True

        while not ask():  # within a second; the test's time limit ends the wait
            time.sleep(0.05)
        while not (rows := shell.json("usage", "--by", "model")):
            time.sleep(0.05)
        assert (rows[0]["model"], rows[0]["attempts"]) == ("talker", 1)
        assert "talker" in shell.say("usage", "--by", "model", "--grain", "day")
