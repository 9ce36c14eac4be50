"""What is told of requests, and where it ends up: counters, lines, traces."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headgate.core.errors import InvalidField, ModelNotFound, RateLimited, UpstreamFailed
from headgate.core.observer import Passage
from headgate.core.ports import Outcome
from headgate.core.settings_telemetry import Log
from headgate.core.settings_telemetry import Telemetry as TraceSettings
from headgate.core.usage import UNKNOWN_USAGE, Source, Usage
from headgate.telemetry.lines import Line
from headgate.telemetry.observer import Telemetry, _line, kind
from tests.conftest import run
from tests.telemetry.receiver import attributes, receiving
from tests.telemetry.seeing import Request, passage

USED = Usage(Source.REPORTED, 12, 5, 30, 9)
QUIET = Log(requests=False)


@asynccontextmanager
async def telemetry(log: Log = QUIET, traces: TraceSettings | None = None) -> AsyncIterator[Telemetry]:
    made = Telemetry(log, traces or TraceSettings(), {"up": "openai"})
    try:
        yield made
    finally:
        made.stop()


def now_s() -> float:
    return asyncio.get_running_loop().time()


def test_a_request_is_counted_once_and_its_attempts_each() -> None:
    async def main() -> None:
        async with telemetry() as seen:
            told = passage(stream=True, target="near", attempts=2)
            seen.tried(told, "far", Outcome.FAILED, 503, UNKNOWN_USAGE)
            seen.tried(told, "near", Outcome.OK, 200, USED)
            started_s = now_s() - 1
            told.first_s = started_s + 0.3
            seen.between(told, 0.02)
            seen.ended(Request(told, started_s=started_s))
            far = seen.counters.series("chat.completions", "m", "far")
            near = seen.counters.series("chat.completions", "m", "near")
            assert (far.requests, far.attempts, far.prompt_tokens) == (0, {"failed": 1}, 0)
            assert (near.requests, near.attempts, near.errors) == (1, {"ok": 1}, {})
            assert (near.prompt_tokens, near.cached_tokens) == (12, 5)
            assert (near.completion_tokens, near.reasoning_tokens) == (30, 9)
            assert sum(near.duration.counts) == sum(near.first_token.counts) == sum(near.between.counts) == 1
            assert 1 <= near.duration.total < 60
            assert 0.29 < near.first_token.total < 0.31
            assert (told.outcome, told.usage) == (Outcome.OK, USED)

    run(main())


def test_errors_are_counted_by_their_class() -> None:
    async def main() -> None:
        async with telemetry() as seen:
            for failure in (RateLimited("x"), RateLimited("y", code="made-up"), UpstreamFailed("z")):
                seen.ended(Request(passage(), failure=failure))
            seen.ended(Request(passage(), gone=True, status=0))
            series = seen.counters.series("chat.completions", "m", "up")
            assert series.errors == {"rate_limited": 2, "upstream_failed": 1, "client_gone": 1}
            assert series.requests == 4

    run(main())


def test_what_is_no_request_to_a_model_is_not_counted() -> None:
    async def main() -> None:
        async with telemetry() as seen:
            seen.ended(Request(path=b"/healthz"))
            assert not list(seen.counters.all())

    run(main())


def test_a_model_that_nobody_serves_is_no_label() -> None:
    async def main() -> None:
        async with telemetry() as seen:
            for number in range(50):
                failure = ModelNotFound(f"The model 'made-up-{number}' does not exist")
                seen.ended(Request(Passage("chat.completions"), failure=failure))
            ((key, series),) = seen.counters.all()
            assert key == ("chat.completions", "", "")
            assert series.errors == {"model_not_found": 50}

    run(main())


def told(request: Request) -> Line:
    return _line(request, request.passage, request.started_s + 0.8124)


def test_a_line_tells_what_happened() -> None:
    line = told(
        Request(
            passage(stream=True, outcome=Outcome.OK, usage=USED, first_s=100.12),
        )
    )
    assert (line.status, line.outcome, line.duration_ms, line.first_token_ms) == (200, "ok", 812.4, 120.0)
    assert (line.key_id, line.key_name, line.client) == ("key_1", "team blue", "192.0.2.7")
    assert (line.endpoint, line.model, line.target, line.attempts) == ("chat.completions", "m", "up", 1)
    assert (line.prompt_tokens, line.cached_tokens, line.completion_tokens) == (12, 5, 30)
    assert (line.usage, line.stream, line.error) == ("reported", True, "")


def test_outcomes_in_lines() -> None:
    assert told(Request()).outcome == "ok"
    assert told(Request(failure=RateLimited("x"), status=429)).outcome == "rejected"
    failed = told(Request(passage(outcome=Outcome.FAILED), failure=UpstreamFailed("x"), status=502))
    assert (failed.outcome, failed.error, failed.code) == ("failed", "upstream_failed", "upstream_error")
    assert told(Request(passage(outcome=Outcome.CLIENT_GONE), gone=True)).outcome == "client_gone"
    assert told(Request(passage(outcome=None), gone=True)).outcome == "client_gone"


def test_a_line_repeats_no_words_of_the_client() -> None:
    wrong = InvalidField(
        "Invalid value: 'the planted prompt'", param="messages[0].content", code="invalid_value"
    )
    line = told(Request(failure=wrong, status=400))
    assert (line.error, line.code, line.param) == ("invalid_field", "invalid_value", "messages[0].content")
    assert "planted" not in repr(line)
    made_up = InvalidField("No", param="the planted prompt", code="invalid_value")
    assert told(Request(failure=made_up)).param == ""


def test_kinds_are_the_trees_words() -> None:
    assert kind(UpstreamFailed("x")) == "upstream_failed"
    assert kind(ModelNotFound("x")) == "model_not_found"


def test_lines_are_written_while_the_setting_says_so() -> None:
    reader, writer = os.pipe()

    async def main() -> None:
        seen = Telemetry(Log(format="json"), TraceSettings(), {}, descriptor=writer)
        seen.ended(Request(request_id="req_a"))
        seen.configure(QUIET, TraceSettings(), {})
        seen.ended(Request(request_id="req_b"))
        seen.configure(Log(format="json"), TraceSettings(), {})
        seen.ended(Request(request_id="req_c"))
        seen.stop()

    run(main())
    os.close(writer)
    with os.fdopen(reader, "rb") as end:
        said = [json.loads(line)["request_id"] for line in end.read().splitlines()]
    assert said == ["req_a", "req_c"]


def test_a_traced_request_tells_its_upstream_and_the_receiver() -> None:
    async def main(url: str) -> None:
        async with telemetry(traces=TraceSettings(otlp_endpoint=url)) as seen:
            assert seen.tracing
            told = passage()
            request = Request(told, headers={b"traceparent": f"00-{'a' * 32}-{'b' * 16}-01".encode()})
            seen.trace(request, told)
            first = dict(seen.sending(told, "far", "gpt-x"))[b"traceparent"]
            seen.tried(told, "far", Outcome.FAILED, 503, UNKNOWN_USAGE)
            second = dict(seen.sending(told, "up", "gpt-y"))[b"traceparent"]
            seen.tried(told, "up", Outcome.OK, 200, USED)
            seen.ended(request)
            sent[:] = [first, second]

    sent: list[bytes] = []
    with receiving() as receiver:
        run(main(receiver.url))
        spans = receiver.named(3)
    assert spans["chat m"].parent_span_id.hex() == "b" * 16
    for header, name in zip(sent, ("chat gpt-x", "chat gpt-y"), strict=True):
        assert header.decode() == f"00-{'a' * 32}-{spans[name].span_id.hex()}-01"
    assert attributes(spans["chat gpt-y"])["gen_ai.usage.input_tokens"] == 12


def test_a_caller_who_does_not_trace_is_passed_on_as_he_came() -> None:
    async def main(url: str) -> None:
        async with telemetry(traces=TraceSettings(otlp_endpoint=url)) as seen:
            told = passage()
            came = f"00-{'a' * 32}-{'b' * 16}-00".encode()
            request = Request(told, headers={b"traceparent": came})
            seen.trace(request, told)
            assert dict(seen.sending(told, "up", "x")) == {b"traceparent": came}
            seen.tried(told, "up", Outcome.OK, 200, USED)
            seen.ended(request)

    with receiving() as receiver:
        run(main(receiver.url))
        assert not receiver.spans


def test_tracing_can_be_switched_while_requests_are_under_way() -> None:
    async def main(url: str) -> None:
        on, off = TraceSettings(otlp_endpoint=url), TraceSettings()
        async with telemetry(traces=on) as seen:
            told = passage()
            request = Request(told)
            seen.trace(request, told)
            states = [seen.tracing]
            seen.configure(QUIET, off, {})
            states.append(seen.tracing)
            seen.ended(request)
            seen.configure(QUIET, on, {})
            states.append(seen.tracing)
            assert states == [True, False, True]
            seen.trace(request, told)
            seen.ended(request)

    with receiving() as receiver:
        run(main(receiver.url))
        receiver.named(1)
