"""What every test shares: `run` for coroutines, free ports, real gates, and the rule that CI skips nothing.

Nothing here knows what is being tested.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest
import uvloop

from tests.gates import RunningGate, open_gate

# No deadline: how long an example takes says more about the machine than about the code. In CI the examples
# are the same every time, so that a failure there belongs to the change.
hypothesis.settings.register_profile(
    "headgate",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("headgate")

Result = TypeVar("Result")

LEFTOVER_GRACE_S = 5.0
"""Time for tasks that were just told to stop (a closed server's connections) to end by themselves."""


def run(main: Coroutine[Any, Any, Result], *, timeout_s: float = 60.0) -> Result:
    """Run a coroutine on uvloop; fail if it leaves a task behind or an error went to the loop's handler.

    `from tests.conftest import run`, then a plain test function ends with `run(main())`.
    """
    lost: list[str] = []

    def keep(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        lost.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def bounded() -> Result:
        asyncio.get_running_loop().set_exception_handler(keep)
        async with asyncio.timeout(timeout_s):
            result = await main
        leftovers = asyncio.all_tasks() - {asyncio.current_task()}
        if leftovers:
            _, leftovers = await asyncio.wait(leftovers, timeout=LEFTOVER_GRACE_S)
        assert not leftovers, f"tasks left running: {[task.get_coro() for task in leftovers]}"
        return result

    # The runner cancels what is left before it closes the loop, also when the test failed.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop, debug=False) as runner:
        result = runner.run(bounded())
    assert not lost, "errors nobody handled:\n" + "\n".join(lost)
    return result


def unused_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    return unused_port()


@pytest.fixture
def start_gate(tmp_path: Path) -> Generator[Callable[..., RunningGate]]:
    """`start_gate(toml, ...)` starts a real gate (see `open_gate`); all are stopped when the test ends."""
    with ExitStack() as stack:
        started = 0

        def start(toml: str = "", **options: Any) -> RunningGate:
            nonlocal started
            started += 1
            return stack.enter_context(open_gate(tmp_path / f"gate-{started}", toml, **options))

        yield start


def _fail_when_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"CI skips nothing, but this was skipped: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_when_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_when_skipped(report)
    return report
