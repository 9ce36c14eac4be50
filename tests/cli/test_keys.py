"""`headgate keys`: beside a gate that runs, and before the first one."""

from __future__ import annotations

from pathlib import Path

from tests.cli.running import KEY, headgate, serving, until


def test_a_lost_key_is_rotated_beside_a_running_gate(tmp_path: Path, configuration: Path) -> None:
    with serving(tmp_path, "--config", str(configuration), UP_KEY=KEY) as gate:
        old = next(line.strip() for line in gate.greeting.splitlines() if line.startswith("    sk-"))
        assert gate.models(old) == ["m", "starter-chat"]
        result = headgate(tmp_path, "keys", "master", "--rotate")
        assert (result.returncode, result.stderr) == (0, "")
        new = result.stdout.strip()
        until(lambda: gate.get("/v1/models", new)[0] == 200)
        assert gate.get("/v1/models", old)[0] == 401


def test_a_key_can_be_made_before_the_first_start(tmp_path: Path, configuration: Path) -> None:
    key = headgate(tmp_path, "keys", "master", "--rotate").stdout.strip()
    with serving(tmp_path, "--config", str(configuration), UP_KEY=KEY) as gate:
        assert "shown this once" not in gate.greeting
        assert gate.models(key) == ["m", "starter-chat"]
