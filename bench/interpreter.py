"""Which Python the contestants written in Python run on: the quickest CPython of this machine.

A CPython built without its own optimisations (as pyenv builds it by default) is up to twice as slow as a
distribution's, and nginx is a distribution's build too. So a short loop is timed on each CPython here, and
Headgate and LiteLLM both get the winner.
"""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.machine import CACHE, ROOT

NAMES = ("python3", "python3.11", "python3.12", "python3.13", "python3.14")
PLACES = (*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/local/bin")
CLEARLY = 0.9
"""Another interpreter is taken when it needs less than this share of our own's time."""

# Small functions, attributes, bytes and dicts: what a data plane in Python spends its time on.
PROBE = r"""
import sys, timeit
if sys.version_info < (3, 11) or sys.implementation.name != "cpython":
    raise SystemExit(1)
class Line:
    def __init__(self, name, value):
        self.name, self.value = name, value
    def lowered(self):
        return self.name.lower(), self.value.strip()
def parse(head):
    lines = [Line(*part.split(b":", 1)) for part in head.split(b"\r\n")]
    fields = dict(line.lowered() for line in lines)
    return b"%b: %d" % (fields[b"host"], len(fields))
head = b"\r\n".join(b"Header-%d: some value" % number for number in range(8)) + b"\r\nHost: here"
print(min(timeit.repeat(lambda: parse(head), number=2000, repeat=9)))
"""


@functools.cache
def quickest() -> Path:
    """The interpreter that runs the loop in the least time; our own unless another is clearly quicker."""
    candidates = {Path(sys.executable): Path(sys.executable).resolve()}
    for place in PLACES:
        for name in NAMES:
            found = shutil.which(name, path=place)
            # A version manager's shim decides anew at each call: only what it leads to counts.
            if found and "shims" not in found and Path(found).resolve() not in candidates.values():
                candidates[Path(found)] = Path(found).resolve()
    seconds = {path: min(_probe(path) for _ in range(3)) for path in candidates}
    best = min(seconds, key=seconds.__getitem__)
    own = Path(sys.executable)
    return best if seconds[best] < CLEARLY * seconds[own] else own


def environment(name: str, lock: Path) -> Path:
    """The Python of an environment of its own under .bench/, with what `lock` says installed by hash."""
    folder = CACHE / name
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = f"{quickest()}\n".encode() + lock.read_bytes()
    if not (stamp.exists() and stamp.read_bytes() == wanted):
        # Without pip, for a distribution's Python may come without the means to make it; ours installs there.
        subprocess.run([quickest(), "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
        if uv := shutil.which("uv"):
            install = [uv, "pip", "install", "--quiet", "--python", str(python)]
        else:
            install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        subprocess.run([*install, "--require-hashes", "-r", str(lock)], stdout=sys.stderr, check=True)
        stamp.write_bytes(wanted)
    return python


def headgate() -> list[str]:
    """The command that runs this checkout's headgate on the quickest interpreter."""
    own = Path(sys.executable)
    if quickest() == own:
        return [str(own), "-m", "headgate"]
    python = environment("headgate", ROOT / "locks" / "run.txt")
    folders = [ROOT / "src", ROOT / "packages" / "headgate-starter" / "src"]
    return ["env", f"PYTHONPATH={os.pathsep.join(map(str, folders))}", str(python), "-m", "headgate"]


def version() -> str:
    """The chosen interpreter's version, and where it came from in general terms."""
    told = subprocess.run(
        [quickest(), "-c", "import platform; print(platform.python_version())"],
        capture_output=True,
        text=True,
        check=True,
    )
    origin = "" if quickest() == Path(sys.executable) else " (the system's)"
    return f"Python {told.stdout.strip()}{origin}"


def _probe(path: Path) -> float:
    told = subprocess.run([path, "-I", "-c", PROBE], capture_output=True, text=True, check=False)
    return float(told.stdout) if told.returncode == 0 else float("inf")
