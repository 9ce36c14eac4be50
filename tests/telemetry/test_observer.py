"""What is told of requests, and where it ends up: counters, lines, traces."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headgate.core.errors import ModelNotFound, RateLimited, UpstreamFailed
from headgate.core.observer import GUESSED, Passage
from headgate.core.ports import Outcome
from headgate.core.settings_telemetry import Log
from headgate.core.settings_telemetry import Telemetry as TraceSettings
from headgate.core.usage import UNKNOWN_USAGE, Source, Usage
from headgate.telemetry.observer import Telemetry
from tests.conftest import run
from tests.telemetry.receiver import attributes, receiving
from tests.telemetry.seeing import NOBODY, Request, passage

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
            told = passage(stream=True, target="far", outcome=Outcome.FAILED, status=503)
            seen.again(told)
            told.target, told.outcome, told.status, told.usage = "near", Outcome.OK, 200, USED
            started_s = now_s() - 1
            told.first_s = started_s + 0.3
            seen.between(told, 0.02)
            seen.ended(Request(told, started_s=started_s))
            far = seen.counters.series("chat.completions", "m", "far")
            near = seen.counters.series("chat.completions", "m", "near")
            assert (far.requests, far.attempts[Outcome.FAILED], far.prompt_tokens) == (0, 1, 0)
            assert (near.requests, near.attempts[Outcome.OK], near.errors) == (1, 1, {})
            assert (sum(far.attempts), sum(near.attempts)) == (1, 1)
            assert (near.prompt_tokens, near.cached_tokens) == (12, 5)
            assert (near.completion_tokens, near.reasoning_tokens, near.estimated) == (30, 9, 0)
            assert sum(near.duration.counts) == sum(near.first_token.counts) == sum(near.between.counts) == 1
            assert 1 <= near.duration.total < 60
            assert 0.29 < near.first_token.total < 0.31

    run(main())


def test_guessed_tokens_are_told_apart_and_nothing_sent_is_no_attempt() -> None:
    async def main() -> None:
        async with telemetry() as seen:
            seen.ended(Request(passage(outcome=Outcome.OK, usage=Usage(Source.ESTIMATED, 1, 0, 2, 0))))
            seen.ended(
                Request(passage(outcome=Outcome.OK, usage=Usage(Source.REPORTED, images=2, seconds=3)))
            )
            seen.ended(Request(passage(outcome=Outcome.FAILED)))
            seen.ended(Request(passage(outcome=None), failure=RateLimited("x")))
            series = seen.counters.series("chat.completions", "m", "up")
            assert (series.requests, sum(series.attempts), series.estimated) == (4, 3, 1)
            assert (series.images, series.seconds, series.characters) == (2, 3, 0)
            assert (series.prompt_tokens, series.completion_tokens) == (1, 2)

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
            seen.ended(Request(target=b"/healthz"))
            assert not list(seen.counters.all())

    run(main())


def test_a_model_that_nobody_serves_is_no_label() -> None:
    async def main() -> None:
        async with telemetry() as seen:
            for number in range(50):
                failure = ModelNotFound(f"The model 'made-up-{number}' does not exist")
                seen.ended(Request(Passage("chat.completions", NOBODY), failure=failure))
            ((key, series),) = seen.counters.all()
            assert key == ("chat.completions", "", "")
            assert series.errors == {"model_not_found": 50}

    run(main())


def test_names_that_only_a_star_stands_for_are_counted_together() -> None:
    async def main() -> None:
        async with telemetry() as seen:
            for number in range(50):
                seen.ended(Request(passage(model=f"made-up-{number}", label=GUESSED)))
            assert [key for key, _ in seen.counters.all()] == [("chat.completions", GUESSED, "up")]

    run(main())


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
            first, to_far = seen.sending(told, "far", "gpt-x")
            second, to_up = seen.sending(told, "up", "gpt-y")
            seen.sent(first, Outcome.FAILED, 503, UNKNOWN_USAGE)
            seen.sent(second, Outcome.OK, 200, USED)
            seen.ended(request)
            sent[:] = [dict(to_far)[b"traceparent"], dict(to_up)[b"traceparent"]]

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
            attempt, headers = seen.sending(told, "up", "x")
            assert dict(headers) == {b"traceparent": came}
            seen.sent(attempt, Outcome.OK, 200, USED)
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
