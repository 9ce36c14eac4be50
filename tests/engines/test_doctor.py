"""What the engine needs from the system, and how to get it."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.engines import doctor
from headgate.engines.doctor import examine, library_finding, processor_flags


def test_this_machine_has_all_of_it() -> None:
    findings = examine()
    assert [(found.name, found.advice) for found in findings if not found.ok] == []
    assert {found.name for found in findings} >= {"xllamacpp"}


def test_a_system_without_libgomp(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", missing)
    (found,) = [found for found in examine() if found.name == "libgomp.so.1"]
    assert not found.ok
    assert "apt-get install libgomp1" in found.advice


def test_a_processor_without_avx2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse4_2 avx\n")
    (found,) = doctor._processor(cpuinfo)
    assert not found.ok
    assert found.advice
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse4_2 avx avx2\n")
    (found,) = doctor._processor(cpuinfo)
    assert found.ok
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert doctor._processor(cpuinfo) == []
    assert processor_flags("nothing of the kind") == set()


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (found,) = [found for found in examine() if found.name == "xllamacpp"]
    assert (found.ok, found.advice) == (False, "pip install 'headgate[llamacpp]'")


@pytest.mark.parametrize(
    ("code", "errors", "detail", "advice"),
    [
        (0, "", "2026.10.1", ""),
        (-4, "", "loading it ended with signal 4", "see AVX2 above"),
        (-11, "", "loading it ended with signal 11", "--force-reinstall"),
        (
            1,
            "Traceback\nImportError: libgomp.so.1: cannot open",
            "ImportError: libgomp.so.1",
            "apt-get install",
        ),
        (1, "Traceback\nImportError: broken", "does not load: ImportError: broken", "--force-reinstall"),
        (1, "", "exit code 1", "--force-reinstall"),
    ],
)
def test_how_loading_ended(code: int, errors: str, detail: str, advice: str) -> None:
    found = library_finding(code, "2026.10.1\n", errors)
    assert found.ok is (code == 0)
    assert detail in found.detail
    assert advice in found.advice


def test_a_library_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_arguments: object, **_options: object) -> None:
        raise subprocess.TimeoutExpired("python", 60)

    monkeypatch.setattr(subprocess, "run", hang)
    (found,) = [found for found in examine() if found.name == "xllamacpp"]
    assert not found.ok


def test_looking_does_not_load_the_library_here() -> None:
    look = "from headgate.engines.doctor import examine; examine()"
    code = f"import sys; {look}; print('xllamacpp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_each_kind_of_engine_has_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def names(kind: str, *, has_model: bool = False) -> set[str]:
        return {found.name for found in doctor.examine_libraries(kind, has_model=has_model)}

    assert names("speech") == {"av", "numpy", "espeakng_loader"}
    assert names("speech", has_model=True) == {"av", "numpy", "sherpa_onnx"}
    assert names("transcribe") == {"av", "numpy", "pocketsphinx"}
    assert names("transcribe", has_model=True) == {"av", "numpy", "faster_whisper"}
    assert "onnxruntime" in names("embed", has_model=True)
    assert names("image") == {"numpy", "PIL", "onnxruntime", "headgate_starter"}
    assert names("image", has_model=True) == {"numpy", "PIL", "diffusers", "torch"}
    # All are here but for torch and what stands on it, which is large.
    assert all(
        found.ok
        for kind in doctor.LIBRARIES
        for found in doctor.examine_libraries(kind, has_model=kind != "image")
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (missing,) = [
        found for found in doctor.examine_libraries("speech", has_model=True) if found.name == "sherpa_onnx"
    ]
    assert (missing.ok, missing.advice) == (False, "pip install 'headgate[speech]'")
