"""The command line as a whole: help, what each command loads, wrong usage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headgate import __version__
from tests.cli.running import KEY, environment, headgate, one_line


def test_help_and_version(tmp_path: Path) -> None:
    for arguments in ("", "--help", "-h"):
        result = headgate(tmp_path, *arguments.split())
        assert (result.returncode, result.stderr) == (0, "")
        for command in ("serve", "engine", "doctor", "keys"):
            assert f"\n  {command} " in result.stdout
    version = headgate(tmp_path, "--version")
    assert (version.returncode, version.stdout) == (0, f"headgate, version {__version__}\n")
    for name in ("serve", "engine", "doctor", "keys", "keys master"):
        result = headgate(tmp_path, *name.split(), "--help")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith(f"Usage: headgate {name}")


GATE = {"headgate.app", "headgate.edge", "headgate.gateway", "headgate.backends", "headgate.store", "uvloop"}
LOADED = {
    "serve --help": {"asyncio", "ssl", "httptools", "xllamacpp", *GATE},
    "engine llamacpp --help": {"httptools", *GATE},
    "serve": {"xllamacpp", "headgate.engines.llamacpp", "opentelemetry"},
    "doctor": {"xllamacpp"},
}
"""Commands, and what they may not load: help is quick, and engine and gate know nothing of each other."""


@pytest.mark.parametrize("command", LOADED)
def test_a_command_loads_only_what_it_needs(
    command: str, tmp_path: Path, configuration: Path, taken_port: int
) -> None:
    code = "import sys, headgate.cli\ntry:\n    headgate.cli.main()\nfinally:\n    print(*sys.modules)"
    # The port is taken, so that `serve` ends when it has everything.
    result = subprocess.run(
        [sys.executable, "-c", code, *command.split()],
        env=environment(tmp_path, HEADGATE_PORT=str(taken_port), HEADGATE_CONFIG="gate.toml", UP_KEY=KEY),
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    loaded = set(result.stdout.split())
    assert "headgate.cli" in loaded
    if command == "serve":
        assert loaded >= GATE
    assert not loaded & LOADED[command]


WRONG_USAGE = {
    "sevre": "No such command 'sevre'",
    "serve --prot 1": "No such option '--prot'",
    "serve extra": "Got unexpected extra argument (extra)",
    "serve --port 65536": "65536 is not in the range 0<=x<=65535",
    "serve --port x": "'x' is not a valid integer",
    "serve --workers 0": "0 is not in the range x>=1",
    "serve --workers 2": "--workers 2 needs shared counters (Redis/Valkey), which this version does not have",
    "serve --config missing.toml": "missing.toml: no such file or directory",
    "serve --config .": ".: is a directory",
    "serve --model missing.gguf": "'missing.gguf' does not exist",
    "serve --tls-cert gate.toml": "--tls-cert and --tls-key go together",
    "serve --host=": "--host: expected an address to listen on, got an empty string",
    "serve --data gate.toml": "'gate.toml' is a file",
    "engine": "Missing argument",
    "engine llama": "'llama' is not one of 'llamacpp', 'embed',",
    "keys": "Missing command",
    "keys master": "the key is kept hashed and cannot be shown; --rotate makes a new one",
    "doctor --port x": "'x' is not a valid integer",
}


@pytest.mark.parametrize("command", WRONG_USAGE)
def test_wrong_usage_is_one_line_and_exit_code_2(command: str, tmp_path: Path, configuration: Path) -> None:
    result = headgate(tmp_path, *command.split(), HEADGATE_CONFIG=str(configuration), UP_KEY=KEY)
    assert WRONG_USAGE[command] in one_line(result)
    assert result.returncode == 2


def test_a_pipe_that_closes_early_is_no_traceback(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        result = subprocess.run(
            [sys.executable, "-m", "headgate", "--help"],
            env=environment(tmp_path), stdout=closed, stderr=subprocess.PIPE, text=True, timeout=120,
            check=False,
        )  # fmt: skip
    assert (result.returncode, result.stderr) == (1, "")
