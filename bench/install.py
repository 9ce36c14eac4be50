"""Gets the other contestants: nginx from the system, LiteLLM and Portkey's gateway pinned, under .bench/."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench import interpreter
from bench.machine import CACHE

BENCH = Path(__file__).resolve().parent


class Missing(Exception):
    """A contestant cannot be had here; the text says how to get it."""


def nginx() -> str:
    """The nginx program, installed with apt if this is root and it is missing."""
    known = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if known:
        return known
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "nginx-light"], stdout=sys.stderr, check=False)
        if known := shutil.which("nginx", path="/usr/sbin:/usr/bin"):
            return known
    raise Missing(
        "nginx is not installed: as root, apt-get install nginx-light (or the system's own package)"
    )


def litellm() -> str:
    """LiteLLM's proxy program, in a virtual environment of its own."""
    try:
        python = interpreter.environment("litellm", BENCH / "litellm" / "requirements.txt")
    except subprocess.CalledProcessError as error:
        raise Missing("LiteLLM could not be installed") from error
    return str(python.parent / "litellm")


def portkey() -> list[str]:
    """The command that starts Portkey's gateway on Node.js."""
    folder, lock = CACHE / "portkey", BENCH / "portkey" / "package-lock.json"
    node = shutil.which("node")
    npm = shutil.which("npm")
    if not node or not npm:
        raise Missing("Portkey's gateway needs Node.js >= 18 with npm: see https://nodejs.org")
    if not _installed(folder, lock):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(BENCH / "portkey" / name, folder / name)
        _get(
            [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)], folder, lock
        )
    return [node, str(folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js")]


def _installed(folder: Path, lock: Path) -> bool:
    stamp = folder / "installed"
    return stamp.exists() and stamp.read_bytes() == lock.read_bytes()


def _get(command: list[str], folder: Path, lock: Path) -> None:
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        raise Missing(f"could not be installed: {' '.join(command)}")
    (folder / "installed").write_bytes(lock.read_bytes())
