"""What an engine needs from the system, and how to get what is missing.

Looks and changes nothing. The library is loaded in a process of its own: on the wrong CPU it dies there.
"""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

LOAD_TIMEOUT_S = 60.0
"""For importing 100 MB of library from a cold disk."""

INSTALL_GOMP = (
    "apt-get install libgomp1 (Debian, Ubuntu), dnf install libgomp (Fedora, RHEL), "
    "apk add libgomp (Alpine), zypper install libgomp1 (SUSE)"
)
INSTALL_LIBRARY = "pip install 'headgate[llamacpp]'"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    """What was found, in a few words."""
    advice: str = ""
    """What to do about it; empty when all is well."""


LIBRARIES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "embed": {"embed": ("numpy", "onnx", "onnxruntime", "safetensors", "tokenizers")},
    "speech": {"media": ("av", "numpy"), "espeak": ("espeakng_loader",), "speech": ("sherpa_onnx",)},
    "transcribe": {
        "media": ("av", "numpy"),
        "transcribe-starter": ("pocketsphinx",),
        "transcribe": ("faster_whisper",),
    },
    "image": {
        "media": ("numpy", "PIL"),
        "embed": ("onnxruntime",),
        "starter": ("headgate_starter",),
        "image": ("diffusers", "torch"),
    },
}
"""What each kind of engine loads, by the extra of ours that installs it."""

WITH_MODEL = {"speech": ("espeak",), "transcribe": ("transcribe-starter",), "image": ("embed", "starter")}
WITHOUT_MODEL = {"speech": ("speech",), "transcribe": ("transcribe",), "image": ("image",)}
"""Extras that an engine of a kind can do without, with a model and without one."""


def examine() -> list[Finding]:
    """Looks at everything that the llama.cpp engine needs."""
    return [*_gomp(), *_processor(), _library()]


def examine_libraries(kind: str, *, has_model: bool) -> list[Finding]:
    """Looks whether the libraries of an engine that is written in Python are installed; loads none."""
    spare = (WITH_MODEL if has_model else WITHOUT_MODEL).get(kind, ())
    return [
        _installed(name, extra)
        for extra, names in LIBRARIES[kind].items()
        if extra not in spare
        for name in names
    ]


def _installed(name: str, extra: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(name, False, "not installed", f"pip install 'headgate[{extra}]'")
    return Finding(name, True, "installed")


def _gomp() -> list[Finding]:
    if sys.platform != "linux":
        return []
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        return [Finding("libgomp.so.1", False, "not found; llama.cpp cannot be loaded", INSTALL_GOMP)]
    return [Finding("libgomp.so.1", True, "found")]


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[Finding]:
    if platform.machine().lower() not in ("x86_64", "amd64") or not cpuinfo.exists():
        return []
    if "avx2" in processor_flags(cpuinfo.read_text()):
        return [Finding("AVX2", True, "this CPU has it")]
    advice = (
        "run the gate on another machine, or build xllamacpp from source here; a virtual machine may only "
        "hide it (set its CPU type to `host`). Remote upstreams work without it"
    )
    return [Finding("AVX2", False, "this CPU lacks it; llama.cpp as it is packaged would die", advice)]


def processor_flags(cpuinfo: str) -> set[str]:
    """The features of the first processor in the text of /proc/cpuinfo."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return set(value.split())
    return set()


def _library() -> Finding:
    if importlib.util.find_spec("xllamacpp") is None:
        return Finding("xllamacpp", False, "not installed", INSTALL_LIBRARY)
    code = "import xllamacpp; print(xllamacpp.__version__)"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            capture_output=True, text=True, timeout=LOAD_TIMEOUT_S, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Finding(
            "xllamacpp",
            False,
            f"does not load within {LOAD_TIMEOUT_S:g} s",
            "look again when the disk is less busy",
        )
    return library_finding(done.returncode, done.stdout, done.stderr)


def library_finding(code: int, output: str, errors: str) -> Finding:
    """What the end of a process that tried to load the library says."""
    if code == 0:
        return Finding("xllamacpp", True, output.strip())
    if code < 0:
        advice = "see AVX2 above" if code == -4 else f"{INSTALL_LIBRARY} --force-reinstall"
        return Finding("xllamacpp", False, f"loading it ended with signal {-code}", advice)
    last = errors.strip().splitlines()[-1] if errors.strip() else f"exit code {code}"
    advice = INSTALL_GOMP if "libgomp" in last else f"{INSTALL_LIBRARY} --force-reinstall"
    return Finding("xllamacpp", False, f"does not load: {last}", advice)
