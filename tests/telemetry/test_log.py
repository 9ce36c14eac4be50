"""Where lines go: a real pipe, that may be slow, full or closed; the loop never waits for it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

from headgate.core.settings_telemetry import Log
from headgate.telemetry.counters import Counters
from headgate.telemetry.log import JsonFormatter, RequestLog, is_json
from tests.gates import wait_until
from tests.telemetry.test_lines import story


def test_lines_arrive_in_order_and_whole() -> None:
    reader, writer = os.pipe()
    log = RequestLog(Counters(), json=True, descriptor=writer)
    with os.fdopen(reader, "rb") as end:
        for number in range(3000):
            log.add(story(request_id=f"req_{number}"))
        said = [json.loads(end.readline()) for _ in range(2900)]
        log.stop()
        os.close(writer)
        said += [json.loads(one) for one in end.read().splitlines()]
    assert [one["request_id"] for one in said] == [f"req_{number}" for number in range(3000)]


def test_a_full_pipe_drops_lines_and_holds_nobody_up() -> None:
    reader, writer = os.pipe()
    counters = Counters()
    log = RequestLog(counters, json=True, descriptor=writer, most_waiting=100)
    added = 0
    # Each turn waits until the thread is stuck in a write or has taken what waits: in the end it is stuck.
    while counters.log_lines_dropped < 10:
        log.add(story(request_id=f"req_{added}"))
        added += 1
    with os.fdopen(reader, "rb") as end:
        seen = b""
        expected = added - counters.log_lines_dropped
        while seen.count(b"\n") < expected:
            seen += os.read(end.fileno(), 65_536)
        log.stop()
    os.close(writer)
    said = [json.loads(one)["request_id"] for one in seen.splitlines()]
    assert len(said) == expected
    assert said == sorted(said, key=lambda name: int(name[4:]))


def test_a_pipe_that_nobody_writes_in_order_for_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    log = RequestLog(Counters(), json=True, descriptor=writer)
    for number in range(1000):
        log.add(story(request_id=f"req_{number}"))
    with os.fdopen(reader, "rb") as end:
        seen = b""
        while seen.count(b"\n") < 1000:
            seen += os.read(end.fileno(), 4096)
        log.stop()
    os.close(writer)
    assert [json.loads(one)["request_id"] for one in seen.splitlines()][-1] == "req_999"


def test_a_closed_pipe_ends_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    log = RequestLog(Counters(), json=True, descriptor=writer)
    log.add(story())
    log.stop()
    os.close(writer)
    assert not log._thread.is_alive()


def test_a_sleeping_log_wakes_for_a_single_line() -> None:
    reader, writer = os.pipe()
    log = RequestLog(Counters(), json=False, descriptor=writer)
    for number in range(3):
        log.add(story(request_id=f"req_{number}"))
        assert os.read(reader, 65_536).endswith(b"req_%d\n" % number)
        wait_until(lambda: not log._some.is_set(), "the thread to sleep")
    log.stop()
    os.close(reader)
    os.close(writer)


def test_what_the_program_says_is_json_too() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        record = logging.LogRecord(
            "headgate", logging.ERROR, "x.py", 1, "it was %s\n", ("so",), sys.exc_info()
        )
    said = json.loads(JsonFormatter().format(record))
    assert (said["level"], said["event"], said["message"]) == ("error", "log", "it was so\n")
    assert said["exception"].startswith("Traceback")
    assert "\n" not in JsonFormatter().format(record)


def test_auto_is_text_on_a_terminal_and_json_elsewhere() -> None:
    master, terminal = os.openpty()
    reader, pipe = os.pipe()
    assert not is_json(Log(), terminal)
    assert is_json(Log(format="json"), terminal)
    assert is_json(Log(), pipe)
    assert not is_json(Log(format="text"), pipe)
    for descriptor in (master, terminal, reader, pipe):
        os.close(descriptor)


def test_the_program_logs_in_the_form_that_was_asked_for() -> None:
    code = (
        "import logging\nfrom headgate.core.settings_telemetry import Log\n"
        "from headgate.telemetry.log import configure\n"
        "configure(Log(format='text'))\nconfigure(Log(format='json'))\nlogging.getLogger('x').info('once')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    (said,) = map(json.loads, result.stderr.splitlines())
    assert said["message"] == "once"
