"""CPU time and memory of a process tree are those of all its processes."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.machine import cpu_seconds, process_tree, reset_peak, resident_mb

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=sys.stdin, stdout=sys.stdout)
child.wait()
"""
CHILD = """
import sys
def say(word): print(word, flush=True); sys.stdin.readline()
say("started")
block = bytearray(b"x") * 40_000_000
say("grown")
del block
sum(range(1_000_000))
say("shrunk")
"""


@pytest.fixture
def family() -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process
        process.communicate("\n\n\n")


def heard(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the bench runs on Linux only")
def test_a_childs_memory_and_time_count(family: "subprocess.Popen[str]") -> None:
    assert heard(family) == "started"
    assert len(process_tree(family.pid)) == 2
    before, spent = resident_mb(family.pid), cpu_seconds(family.pid)
    reset_peak(family.pid)
    go_on(family)
    assert heard(family) == "grown"
    assert resident_mb(family.pid) - before > 35
    go_on(family)
    assert heard(family) == "shrunk"
    assert resident_mb(family.pid) - before < 20
    assert resident_mb(family.pid, peak=True) - before > 35
    assert cpu_seconds(family.pid) > spent
