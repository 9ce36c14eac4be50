"""The data folder: private, and held by one process at a time, however that process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.core.errors import StoreError
from headgate.store.folder import DataFolder

HOLD = """
import signal, subprocess, sys
from pathlib import Path
from headgate.store.folder import DataFolder
DataFolder.open(Path(sys.argv[1]))
if sys.argv[2:]:
    subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL)
print("held", flush=True)
signal.pause()
"""


def holder(path: Path, *child: str) -> subprocess.Popen[bytes]:
    """A process that holds the folder, with a child of its own where one is named."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), *child], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_the_folder_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "some" / "where"
    with DataFolder.open(path) as folder:
        assert folder.path == path
        assert path.stat().st_mode & 0o777 == 0o700
        assert (path / "headgate.lock").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    path.chmod(0o750)
    DataFolder.open(path).close()
    assert path.stat().st_mode & 0o777 == 0o750


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(StoreError) as caught:
            DataFolder.open(tmp_path)
        assert str(tmp_path) in str(caught.value)
        assert f"process {process.pid})" in str(caught.value)
    finally:
        end(process)


def test_a_killed_holder_gives_the_folder_back(tmp_path: Path) -> None:
    end(holder(tmp_path))
    with DataFolder.open(tmp_path):
        assert (tmp_path / "headgate.lock").read_text() == f"{os.getpid()}\n"


def test_a_child_that_lives_on_does_not_keep_the_folder(tmp_path: Path) -> None:
    process = holder(tmp_path, "sleep", "600")
    try:
        process.kill()
        process.wait()
        DataFolder.open(tmp_path).close()
    finally:
        end(process)


def test_it_can_be_given_back_and_taken_again(tmp_path: Path) -> None:
    for _ in range(3):
        folder = DataFolder.open(tmp_path)
        with pytest.raises(StoreError, match=f"process {os.getpid()}"):
            DataFolder.open(tmp_path)
        folder.close()
        folder.close()


def test_a_path_that_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match=str(path)):
            DataFolder.open(path)


def test_the_lock_is_not_followed_out_of_the_folder(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "headgate.lock").symlink_to(victim)
    with pytest.raises(StoreError, match="cannot lock"):
        DataFolder.open(tmp_path / "data")
    assert victim.read_text() == "precious"
