"""An engine's process is started when it is needed, watched, and started again."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headgate.core.errors import Overloaded
from headgate.core.settings import Engine as EngineSettings
from headgate.core.settings import File
from headgate.engines import process, supervise
from headgate.engines.supervise import Engine, EngineStatus
from tests.conftest import run
from tests.engines.running import is_healthy
from tests.models.bigram import write_bigram

BAD = Path(__file__).with_name("failing_engine.py")


@asynccontextmanager
async def failing(folder: Path, behaviour: str, start_timeout_ms: int = 60_000) -> AsyncIterator[Engine]:
    """A supervisor of a process that behaves like that; it is stopped at the end of the block."""
    settings = EngineSettings(name="bad", model=File("unused"), start_timeout_ms=start_timeout_ms)
    engine = Engine(settings, [sys.executable, str(BAD), str(folder / "starts"), behaviour])
    try:
        yield engine
    finally:
        await engine.stop()


def starts(folder: Path) -> list[int]:
    """The process ids of all starts so far."""
    path = folder / "starts"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_real_engine(tmp_path: Path) -> None:
    model = write_bigram(tmp_path / "m.gguf")

    async def main() -> None:
        engine = Engine(EngineSettings(name="bigram", model=File(str(model)), slots=2, context_tokens=512))
        # Nothing runs before it is needed.
        assert engine.status() == EngineStatus("stopped", 0, None, 0, "")
        folder = Path(engine.address.socket_path).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        try:
            addresses = await asyncio.gather(*(engine.ready() for _ in range(50)))
            assert addresses == [engine.address] * 50
            assert engine.status().state == "ready"
            assert engine.status().generation == 1
            assert is_healthy(engine.address.socket_path)
            await killed_and_back(engine)
        finally:
            await engine.stop()
        assert engine.status().state == "stopped"
        assert not folder.exists()
        with pytest.raises(Overloaded):
            await engine.ready()

    run(main())


async def killed_and_back(engine: Engine) -> None:
    for generation in (2, 3):
        pid = engine.status().pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        # What a caller does whose connection is refused.
        await engine.refused()
        assert await engine.ready() == engine.address
        assert is_healthy(engine.address.socket_path)
        status = engine.status()
        assert (status.state, status.generation, status.restarts) == ("ready", generation, generation - 1)
        assert status.pid != pid


def test_a_model_that_cannot_be_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF but no more")

    async def main() -> None:
        engine = Engine(EngineSettings(name="broken", model=File(str(tmp_path / "m.gguf"))))
        with pytest.raises(Overloaded) as caught:
            await engine.ready()
        assert caught.value.retry_after_ms
        assert engine.status().detail == "ended with exit code 1"
        await engine.stop()

    with caplog.at_level(logging.INFO, "headgate.engines"):
        run(main())
    assert "is not known here" in caplog.text or "makes no sense" in caplog.text


def test_eager(tmp_path: Path) -> None:
    async def main() -> None:
        async with failing(tmp_path, "well") as engine:
            engine.start()
            engine.start()
            assert engine.status().state in ("stopped", "starting")
            await until(lambda: engine.status().state == "ready")
            assert len(starts(tmp_path)) == 1

    run(main())


def test_what_dies_is_started_ever_more_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def quick(delay_s: float) -> None:
        if asyncio.current_task() is engines[0]._task:
            slept.append(delay_s)
            delay_s = 0
        await sleep(delay_s)

    engines: list[Engine] = []

    async def main() -> None:
        async with failing(tmp_path, "dies at once") as engine:
            engines.append(engine)
            monkeypatch.setattr(asyncio, "sleep", quick)
            with pytest.raises(Overloaded) as caught:
                await engine.ready()
            assert (caught.value.status, caught.value.should_retry) == (503, None)
            await until(lambda: len(slept) >= 9)
            monkeypatch.undo()
            assert engine.status().restarts >= 9

    run(main())
    assert slept[:9] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]


def test_the_delay_is_bounded_after_any_number_of_deaths() -> None:
    assert [supervise._delay_s(deaths) for deaths in (1, 2, 8, 5000)] == [0, 0.5, 30, 30]


def test_requests_do_not_wait_for_a_start_that_is_far_away(tmp_path: Path) -> None:
    async def main() -> None:
        async with failing(tmp_path, "dies at once") as engine:
            with pytest.raises(Overloaded):
                await engine.ready()
            await until(lambda: engine.status().restarts >= 3 and engine.status().state == "waiting")
            with pytest.raises(Overloaded) as caught:
                await engine.ready()
            # One second to wait, and one to load.
            assert caught.value.retry_after_ms is not None
            assert 1000 <= caught.value.retry_after_ms <= 2000

    run(main())


def test_it_comes_back_when_the_trouble_is_over(tmp_path: Path) -> None:
    async def main() -> None:
        async with failing(tmp_path, "dies twice") as engine:
            engine.start()
            await until(lambda: engine.status().state == "ready")
            await engine.ready()
            assert engine.status().restarts == 2
            assert engine.status().detail == ""

    run(main())


def test_one_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with failing(tmp_path, "never ready", start_timeout_ms=700) as engine:
            with pytest.raises(Overloaded) as caught:
                await engine.ready()
            assert caught.value.retry_after_ms
            await until(lambda: engine.status().restarts)
            assert engine.status().detail == "was not ready within 0.7 s"
            assert not alive(starts(tmp_path)[0])

    run(main())


def test_a_caller_that_leaves_does_not_stop_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        async with failing(tmp_path, "well") as engine:
            waiting = asyncio.create_task(engine.ready())
            await until(lambda: starts(tmp_path))
            waiting.cancel()
            await asyncio.wait([waiting])
            assert await engine.ready() == engine.address
            assert len(starts(tmp_path)) == 1

    run(main())


def test_stopping_in_the_middle_of_a_start(tmp_path: Path) -> None:
    async def main() -> None:
        async with failing(tmp_path, "never ready") as engine:
            waiting = asyncio.create_task(engine.ready())
            await until(lambda: starts(tmp_path))
            await engine.stop()
            with pytest.raises(Overloaded):
                await waiting
            assert not alive(starts(tmp_path)[0])

    run(main())


def test_one_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STOP_GRACE_S", 0.2)

    async def main() -> None:
        async with failing(tmp_path, "ignores SIGTERM") as engine:
            await engine.ready()
            await engine.stop()
            assert not alive(starts(tmp_path)[0])

    run(main())


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    async def main() -> None:
        engine = Engine(EngineSettings(name="x", model=File("x")), [str(tmp_path / "no such program")])
        with pytest.raises(Overloaded):
            await engine.ready()
        assert engine.status().detail == "cannot be started: No such file or directory"
        await engine.stop()

    run(main())


def test_what_it_says_goes_to_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with failing(tmp_path, "well") as engine:
            await engine.ready()
            await until(lambda: "environment" in caplog.text)

    with caplog.at_level(logging.DEBUG, "headgate.engines"):
        run(main())
    records = {record.getMessage(): record.levelname for record in caplog.records}
    assert records["bad: srv  load: something is wrong"] == "ERROR"
    assert records["bad: srv  send_error: task id = 1, error: too long"] == "INFO"
    (long,) = [message for message in records if message.startswith("bad: plain words")]
    assert len(long) < 2100


def test_an_engine_does_not_get_the_gate_s_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (
        "HEADGATE_MASTER_KEY",
        "OPENAI_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "AIP_MODE",
        "LLAMA_ARG_X",
    ):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")

    async def main() -> None:
        async with failing(tmp_path, "well") as engine:
            await engine.ready()
            await until(lambda: "environment" in caplog.text)

    with caplog.at_level(logging.INFO, "headgate.engines"):
        run(main())
    (line,) = [record.getMessage() for record in caplog.records if "environment:" in record.getMessage()]
    names = line.partition("environment: ")[2].split()
    assert "PATH" in names
    assert "CUDA_VISIBLE_DEVICES" in names
    assert not [name for name in names if "KEY" in name or name.startswith(("AIP", "LLAMA"))]


def test_its_folder_fits_a_socket_whatever_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    monkeypatch.setattr(tempfile, "tempdir", str(deep))

    async def main() -> None:
        engine = Engine(EngineSettings(name="x", model=File("x")))
        # macOS allows 103 bytes, Linux 107.
        assert len(engine.address.socket_path.encode()) <= 103
        await engine.stop()

    run(main())


def test_what_killed_gates_left_behind_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A short path, as sockets need it.
    base = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    listeners = {}
    for name in ("dead", "live", "fresh", "other"):
        folder = base / (f"headgate-{name}" if name != "other" else "other")
        folder.mkdir()
        listeners[name] = socket.socket(socket.AF_UNIX)
        listeners[name].bind(str(folder / "engine.sock"))
        listeners[name].listen()
        if name != "live":
            listeners[name].close()
        if name != "fresh":
            os.utime(folder / "engine.sock", (0, 0))

    async def main() -> None:
        engine = Engine(EngineSettings(name="x", model=File("x")))
        assert Path(engine.address.socket_path).is_relative_to(base)
        await engine.stop()

    run(main())
    assert sorted(path.name for path in base.iterdir()) == ["headgate-fresh", "headgate-live", "other"]
    listeners["live"].close()
    shutil.rmtree(base)


def test_it_says_nothing_of_itself_but_name_and_state(tmp_path: Path) -> None:
    async def main() -> None:
        async with failing(tmp_path, "well") as engine:
            assert repr(engine) == "Engine('bad', stopped)"

    run(main())


def test_an_engine_that_nobody_needs_is_put_to_sleep_and_woken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "WATCH_S", 0.01)
    settings = EngineSettings(name="calm", model=File("unused"), idle_ms=50)

    async def main() -> None:
        engine = Engine(settings, [sys.executable, str(BAD), str(tmp_path / "starts"), "runs"])
        try:
            engine.began()
            await engine.ready()
            (first,) = starts(tmp_path)
            await asyncio.sleep(0.2)  # four times as long as it may be idle, but somebody uses it
            assert engine.status().state == "ready"
            engine.ended()
            await until(lambda: engine.status().state == "asleep")
            assert not alive(first)
            assert engine.status().restarts == 0
            engine.began()
            await engine.ready()
            assert is_healthy(engine.address.socket_path)
            assert len(starts(tmp_path)) == 2
            engine.ended()
            await until(lambda: engine.status().state == "asleep")
        finally:
            await engine.stop()

    run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process holds")
def test_an_engine_that_holds_too_much_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervise, "WATCH_S", 0.01)
    settings = EngineSettings(name="greedy", model=File("unused"), memory_bytes=100_000_000)

    async def main() -> None:
        engine = Engine(settings, [sys.executable, str(BAD), str(tmp_path / "starts"), "grows once"])
        try:
            await engine.ready()
            await until(lambda: len(starts(tmp_path)) == 2)
            await engine.ready()
            first, second = starts(tmp_path)
            assert not alive(first)
            assert alive(second)
            assert engine.status().restarts == 1
        finally:
            await engine.stop()

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "more than memory_bytes = 100000000" in caplog.text


def test_memory_of_a_process_that_is_gone_is_not_known() -> None:
    assert process.resident_bytes(os.getpid()) or sys.platform != "linux"
    assert process.resident_bytes(2**22 + 1) is None
