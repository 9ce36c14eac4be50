"""What the bench knows of the machine: its cores, and a process tree's CPU time and memory. Linux only."""

import fcntl
import os
import platform
import resource
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".bench"
PRECEDENCE = 10  # real-time priority: above ordinary processes, below what the kernel itself runs so
# As it was before the bench pinned itself.
_CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


def make_cache() -> Path:
    """The folder of all that the bench builds, installs and writes; git ignores it."""
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    return CACHE


def only_one() -> IO[str]:
    """Waits until no other bench runs here: they share ports and cores. Closing the file lets the next."""
    lock = (make_cache() / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another bench is running: waiting for its end", file=sys.stderr, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def core_split() -> tuple[int, int]:
    """The core of the contestant, and the one that load generator and upstream share."""
    if len(_CORES) < 2:
        raise SystemExit("the bench needs Linux and two cores: for the contestant; for load and upstream")
    return _CORES[0], _CORES[1]


def leave_the_contestants_core() -> None:
    """Keeps the bench's own Python off the contestant's core."""
    os.sched_setaffinity(0, set(_CORES[1:]))


def take_precedence() -> None:
    """Runs this process and its children-to-be before all others on the machine (SCHED_FIFO, as root)."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRECEDENCE))


def give_way() -> None:
    """Runs this thread only when load generator and upstream, whose core it may share, have nothing to do."""
    if os.sched_getscheduler(0) == os.SCHED_FIFO:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    else:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def raise_descriptor_limit() -> None:
    """Lets this process and its children open as many descriptors as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def process_tree(pid: int) -> list[int]:
    """The process and all its descendants that are alive now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    tree = [pid]
    for member in tree:
        tree.extend(children.get(member, []))
    return tree


def cpu_seconds(pid: int) -> float:
    """CPU time of a process tree so far, exact to the scheduler's nanoseconds where it tells them."""
    return sum(_cpu_seconds_of_one(member) for member in process_tree(pid))


def _cpu_seconds_of_one(pid: int) -> float:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    except (OSError, IndexError):
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def resident_mb(pid: int, *, peak: bool = False) -> float:
    """Resident memory of a process tree in MB (10^6 bytes); with `peak`, its high-water marks."""
    field = "VmHWM:" if peak else "VmRSS:"
    total_kib = 0
    for member in process_tree(pid):
        try:
            lines = Path(f"/proc/{member}/status").read_text().splitlines()
        except OSError:
            continue
        total_kib += sum(int(line.split()[1]) for line in lines if line.startswith(field))
    return total_kib * 1024 / 1e6


def reset_peak(pid: int) -> None:
    """Makes the high-water marks of a process tree start again from what it uses now."""
    for member in process_tree(pid):
        try:
            Path(f"/proc/{member}/clear_refs").write_text("5")
        except OSError:
            continue


def description() -> str:
    """The machine in general terms: processor, cores, kernel, Python."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    return f"{model}, {len(_CORES)} cores, Linux {kernel}"
