"""Where a command's settings come from, and one line for each way in which they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import KEY, headgate, one_line, serving


def test_a_wrong_configuration_is_one_line_with_its_place(tmp_path: Path, configuration: Path) -> None:
    with configuration.open("a") as file:
        file.write("prot = 1\n")
    result = headgate(tmp_path, "serve", "--config", "gate.toml", UP_KEY=KEY)
    assert one_line(result).startswith(
        "gate.toml:8: upstream[0].prot: unknown field; Known here: name, provider, "
    )
    assert result.returncode == 2


def test_a_missing_variable_is_named(tmp_path: Path, configuration: Path) -> None:
    result = headgate(tmp_path, "serve", "--config", str(configuration))
    assert (
        one_line(result)
        == f"{configuration}:7: upstream[0].api_key: the environment variable UP_KEY is not set"
    )
    assert result.returncode == 2


def test_a_key_in_the_file_is_refused_and_not_repeated(tmp_path: Path, configuration: Path) -> None:
    configuration.write_text(configuration.read_text().replace('{ env = "UP_KEY" }', f'"{KEY}"'))
    result = headgate(tmp_path, "serve", HEADGATE_CONFIG=str(configuration))
    assert "upstream[0].api_key: a key is never written into the configuration" in one_line(result)
    assert KEY not in result.stderr
    assert result.returncode == 2


@pytest.mark.parametrize("key", ["tiny-key", "with a space in between", "line\nbreak-line-break"])
def test_an_unusable_master_key_is_refused_and_not_repeated(
    key: str, tmp_path: Path, configuration: Path
) -> None:
    result = headgate(tmp_path, "serve", "--config", str(configuration), HEADGATE_MASTER_KEY=key, UP_KEY=KEY)
    line = one_line(result)
    assert line.startswith("HEADGATE_MASTER_KEY ")
    assert key.replace("\n", " ") not in line
    assert result.returncode == 2


def test_flags_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, configuration: Path, taken_port: int
) -> None:
    configuration.write_text(configuration.read_text().replace("port = 0", f"port = {taken_port}"))
    place = {"HEADGATE_CONFIG": str(configuration), "HEADGATE_DATA": str(tmp_path / "data"), "UP_KEY": KEY}
    with serving(tmp_path, HEADGATE_PORT="0", **place) as gate:
        assert gate.port > 0
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    place |= {"HEADGATE_PORT": str(taken_port), "HEADGATE_HOST": "localhost"}
    with serving(tmp_path, "--port", "0", **place) as gate:
        assert gate.url.startswith("http://localhost:")


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, configuration: Path, taken_port: int) -> None:
    arguments = ("--config", str(configuration), "--port", str(taken_port))
    result = headgate(tmp_path, "serve", *arguments, UP_KEY=KEY)
    line = one_line(result)
    assert line.startswith(f"cannot listen on 127.0.0.1:{taken_port}: ")
    assert "address already in use" in line.lower()
    assert result.returncode in {1, 2}


def test_a_data_folder_in_use_is_a_failure(tmp_path: Path, configuration: Path) -> None:
    with serving(tmp_path, "--config", str(configuration), UP_KEY=KEY) as gate:
        result = headgate(tmp_path, "serve", "--config", str(configuration), UP_KEY=KEY)
        line = one_line(result)
        assert f"{tmp_path}/.local/share/headgate" in line
        assert str(gate.process.pid) in line
        assert result.returncode == 1


def test_the_data_folder_follows_xdg(tmp_path: Path, configuration: Path) -> None:
    with serving(tmp_path, "--config", str(configuration), UP_KEY=KEY, XDG_DATA_HOME=str(tmp_path / "xdg")):
        assert (tmp_path / "xdg/headgate/headgate.lock").exists()
