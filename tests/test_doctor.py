"""`headgate doctor`: what it looks at, what it advises, and that it changes nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from headgate import doctor
from headgate.configuration import Sources
from headgate.doctor import Finding, examine
from headgate.engines.doctor import Finding as EngineFinding
from tests.conftest import unused_port

KEY = "sk-the-upstream-key-nobody-may-see"
UPSTREAM = '[[upstream]]\nname = "a"\nbase_url = "http://127.0.0.1:9"\nmodels = ["m"]\n'


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """A configuration with which all is well, and which needs no engine."""
    path = tmp_path / "gate.toml"
    path.write_text(UPSTREAM + "[starter]\nenabled = false\n")
    return Sources(config_file=path, port=unused_port())


def findings(sources: Sources, data_folder: Path) -> dict[str, Finding]:
    return {found.name: found for found in examine(sources, data_folder)}


def missing(sources: Sources, data_folder: Path) -> list[Finding]:
    return [found for found in examine(sources, data_folder) if found.needed and not found.ok]


def test_all_is_well_and_nothing_was_touched(sources: Sources, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    found = findings(sources, tmp_path / "data")
    assert not missing(sources, tmp_path / "data")
    assert found["configuration"].detail == "serves m"
    assert found["python"].detail == ".".join(str(part) for part in sys.version_info[:3])
    assert {"operator's key", "data folder", "port"} <= found.keys()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_wrong_configuration_is_told_with_its_place(sources: Sources, tmp_path: Path) -> None:
    assert sources.config_file is not None
    sources.config_file.write_text(UPSTREAM + f'api_key = "{KEY}"')
    (wrong,) = [found for found in missing(sources, tmp_path) if found.name == "configuration"]
    assert wrong.detail.startswith(f"{tmp_path}/gate.toml:5: upstream[0].api_key: ")
    assert wrong.advice
    assert KEY not in wrong.detail


def test_a_port_that_is_taken(sources: Sources, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        taken = Sources(config_file=sources.config_file, port=port)
        (wrong,) = missing(taken, tmp_path)
    assert wrong.name == "port"
    assert wrong.detail == f"127.0.0.1 port {port}: Address already in use"
    assert "--port" in wrong.advice


def test_a_host_that_is_not_ours(sources: Sources, tmp_path: Path) -> None:
    # 192.0.2.0/24 is kept for documents: no machine has it.
    foreign = Sources(config_file=sources.config_file, host="192.0.2.1")
    assert [found.name for found in missing(foreign, tmp_path)] == ["port"]


def test_a_data_folder_that_cannot_be(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (wrong,) = missing(sources, tmp_path / "file/below")
    assert (wrong.name, wrong.detail) == ("data folder", f"{tmp_path}/file is not a folder")
    assert "--data" in wrong.advice
    # Tests may run as root, who may write everywhere.
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    (wrong,) = missing(sources, tmp_path / "one/two")
    assert (wrong.name, wrong.detail) == ("data folder", f"{tmp_path} cannot be written")


def test_a_master_key_that_cannot_serve(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADGATE_MASTER_KEY", "tiny-key")
    (wrong,) = missing(sources, tmp_path)
    assert wrong.name == "operator's key"
    assert "tiny-key" not in repr(wrong)
    monkeypatch.setenv("HEADGATE_MASTER_KEY", "long-enough-for-anyone")
    assert findings(sources, tmp_path)["operator's key"] == Finding(
        "operator's key", True, "HEADGATE_MASTER_KEY"
    )


def test_a_certificate_that_is_none(sources: Sources, tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    (wrong,) = missing(msgspec.structs.replace(sources, tls_cert_file=file, tls_key_file=file), tmp_path)
    assert wrong.name == "certificate"
    assert "PEM" in wrong.advice


def test_what_an_engine_lacks_matters_only_where_there_is_one(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lack = EngineFinding("libgomp.so.1", False, "not found", "apt install libgomp1")
    monkeypatch.setattr(doctor, "examine_engines", lambda: [lack])
    found = findings(sources, tmp_path)["libgomp.so.1"]
    assert (found.ok, found.needed, found.advice) == (False, False, "apt install libgomp1")
    (tmp_path / "other.gguf").touch()
    with_engine = msgspec.structs.replace(sources, model_files=(tmp_path / "other.gguf",))
    assert [found.name for found in missing(with_engine, tmp_path)] == ["libgomp.so.1"]


# --- the command ------------------------------------------------------------------------------------------


def run_doctor(tmp_path: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADGATE_", "XDG_"))}
    return subprocess.run(
        [sys.executable, "-m", "headgate", "doctor", "--port", str(unused_port()), *arguments],
        env={**kept, "HOME": str(tmp_path), **more}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_command_says_ok_for_each_line(sources: Sources, tmp_path: Path) -> None:
    result = run_doctor(tmp_path, "--config", str(sources.config_file))
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert "ok       configuration: serves m" in lines
    assert f"ok       data folder: {tmp_path}/.local/share/headgate" in lines


def test_the_command_says_what_to_do_and_fails(tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text(f'{UPSTREAM}api_key = "{KEY}"')
    for arguments in ((), ("--json",)):
        result = run_doctor(tmp_path, *arguments, HEADGATE_CONFIG=str(tmp_path / "gate.toml"))
        assert (result.returncode, result.stderr) == (1, "")
        assert KEY not in result.stdout
        if arguments:
            (wrong,) = [found for found in json.loads(result.stdout) if found["name"] == "configuration"]
            assert (wrong["ok"], wrong["needed"]) == (False, True)
        else:
            lines = result.stdout.splitlines()
            (index,) = [
                index for index, line in enumerate(lines) if line.startswith("missing  configuration: ")
            ]
            assert lines[index + 1] == "         correct it, then look again"
