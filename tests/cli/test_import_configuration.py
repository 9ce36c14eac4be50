"""`headgate import` as it is typed: what it writes, what it says, where keys go."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

IMPORTS = Path(__file__).parents[1] / "backends/imports"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headgate", "import", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_configuration_goes_to_standard_output_and_its_gaps_to_standard_error() -> None:
    done = run("litellm", IMPORTS / "litellm.yaml")
    assert done.returncode == 0, done.stderr
    assert "[[upstream]]" in done.stdout
    assert "headgate import: set CLAUDE_API_KEY to the key that stood in litellm.yaml" in done.stderr
    assert "# - gpt-4o: `rpm` is not carried over" in done.stdout
    assert 'api_key = { env = "CLAUDE_API_KEY" }' in done.stdout
    assert "sk-ant" not in done.stdout + done.stderr


def test_keys_go_into_files_of_the_owners(tmp_path: Path) -> None:
    keys, output = tmp_path / "keys", tmp_path / "headgate.toml"
    done = run("one-api", IMPORTS / "one_api.json", "--keys", keys, "--output", output)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    made = {path.name: path.read_text() for path in keys.iterdir()}
    assert made["DEEPSEEK_KEY"] == "sk-deepseek\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()} == {0o600}
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    text = output.read_text()
    assert f'{{ file = "{keys}/DEEPSEEK_KEY" }}' in text
    assert not [key for key in made.values() if key.strip() in text + done.stderr]


def test_what_was_made_opens_as_it_is(tmp_path: Path) -> None:
    """The gate itself reads it, with its keys from the files."""
    from headgate.configuration import Sources, load

    output = tmp_path / "headgate.toml"
    done = run("one-api", IMPORTS / "one_api.json", "--keys", tmp_path / "keys", "--output", output)
    assert done.returncode == 0, done.stderr
    settings = load(Sources(config_file=output))
    [deepseek] = [upstream for upstream in settings.upstreams if upstream.name == "deepseek"]
    assert deepseek.api_key is not None
    assert deepseek.api_key.reveal() == "sk-deepseek"


def test_wrong_words_and_files_are_told(tmp_path: Path) -> None:
    wrong = tmp_path / "x.json"
    wrong.write_text("sk-secret")
    for words, said in (
        (("portal", wrong), "KIND is one of litellm, new-api, one-api"),
        (("one-api", wrong), "x.json: not JSON"),
        (("one-api", tmp_path / "gone"), "does not exist"),
    ):
        done = run(*words)
        assert done.returncode == 2
        assert said in done.stderr
        assert "sk-secret" not in done.stderr
        assert "Traceback" not in done.stderr
