"""The `core.observer.Observer`: what happens to requests becomes counters, lines and traces.

On the hot path a request costs a handful of additions; lines and spans are written elsewhere, by threads.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Mapping

from headgate.core.observer import Passage, Seen, Try
from headgate.core.ports import Headers, Outcome
from headgate.core.settings_telemetry import Log
from headgate.core.settings_telemetry import Telemetry as TraceSettings
from headgate.core.usage import REPORTED, UNKNOWN_USAGE, Source, Usage
from headgate.telemetry import context
from headgate.telemetry.counters import DURATION_BOUNDS_S, Counters, Series
from headgate.telemetry.lag import LagWatch
from headgate.telemetry.lines import CLIENT_GONE, Story, kind
from headgate.telemetry.log import STDERR, RequestLog, is_json
from headgate.telemetry.traces import Traces, check_traces


class Telemetry:
    """All of it, for one gate; on the loop."""

    def __init__(
        self, log: Log, traces: TraceSettings, providers: Mapping[str, str], *, descriptor: int = STDERR
    ) -> None:
        """`providers`: who each target is, by its name, for traces; `descriptor`: where lines go.

        Raises SettingsError.
        """
        self._descriptor = descriptor
        self.counters = Counters()
        self._series = self.counters.known
        self._log: RequestLog | None = None
        self._traces: Traces | None = None
        self._settings: tuple[Log, TraceSettings] | None = None
        self.tracing = False
        self._prompts = False
        self._clock = asyncio.get_running_loop().time
        self._lag = LagWatch(self.counters.lag)
        self.configure(log, traces, providers)

    def configure(self, log: Log, traces: TraceSettings, providers: Mapping[str, str]) -> None:
        """Takes new settings; what they leave as it was goes on; or raises SettingsError."""
        wanted, sampler = check_traces(traces)
        before, self._settings = self._settings, (log, traces)
        if before is None or before[1] != traces:
            old, self._traces = self._traces, Traces(traces, providers, self.counters) if wanted else None
            if old is not None:
                old.stop_soon()
        elif self._traces is not None:
            self._traces.name_providers(providers)
        if before is None or before[0] != log:
            old_log, self._log = self._log, self._open_log(log)
            if old_log is not None:
                old_log.stop()
        self._sampler = sampler
        self.tracing = self._traces is not None
        self._prompts = self.tracing and traces.prompts

    def stop(self) -> None:
        """Writes what waits and ends the threads."""
        self._lag.stop()
        if self._log is not None:
            self._log.stop()
        if self._traces is not None:
            self._traces.stop()

    # --- core.observer.Observer -----------------------------------------------------------------------

    def trace(self, seen: Seen, passage: Passage) -> None:
        """Decides whether a request is traced (`core.observer.Observer.trace`)."""
        passage.trace = context.begin(seen.header(b"traceparent"), seen.header(b"tracestate"), self._sampler)
        if passage.trace.sampled:
            passage.tries = []
            if self._prompts:
                passage.answered = []

    def sending(self, passage: Passage, target: str, upstream_model: str) -> tuple[Try, Headers]:
        """Notes an attempt of a traced request; returns it, and what tells the upstream of the trace."""
        assert passage.trace is not None
        attempt = Try(target, upstream_model, context.span_id(), self._clock())
        if passage.tries is not None:
            passage.tries.append(attempt)
            return attempt, context.headers(passage.trace, attempt.span_id)
        # Nobody keeps a span of ours: what comes behind us belongs to the caller's.
        return attempt, context.headers(passage.trace, passage.trace.parent_id or passage.trace.span_id)

    def sent(self, attempt: Try, outcome: Outcome, status: int, usage: Usage) -> None:
        """Notes how an attempt of a traced request has ended."""
        attempt.ended_s, attempt.outcome, attempt.status, attempt.usage = (
            self._clock(),
            outcome,
            status,
            usage,
        )

    def again(self, passage: Passage) -> None:
        """Counts an attempt that is not a request's last one."""
        if passage.outcome is not None:
            series = self.counters.series(passage.endpoint, passage.label, passage.target)
            series.attempts[passage.outcome] += 1
            _count_usage(series, passage.usage)

    def between(self, passage: Passage, gap_s: float) -> None:
        """Counts one of the pauses in a stream."""
        self.counters.series(passage.endpoint, passage.label, passage.target).between.add(gap_s)

    def ended(self, seen: Seen) -> None:
        """Counts a request that has been answered, and has it written down."""
        passage = seen.passage
        now_s = self._clock()
        if passage is not None:
            # Every request comes by here, so what could be calls is written out.
            key = (passage.endpoint, passage.label, passage.target)
            series = self._series.get(key) or self.counters.series(*key)
            series.requests += 1
            seconds = now_s - seen.started_s
            duration = series.duration
            duration.counts[bisect_left(DURATION_BOUNDS_S, seconds)] += 1
            duration.total += seconds
            outcome = passage.outcome
            if outcome is not None:
                series.attempts[outcome] += 1
                if passage.usage is not UNKNOWN_USAGE:
                    _count_usage(series, passage.usage)
            if passage.stream and passage.first_s:
                series.first_token.add(passage.first_s - seen.started_s)
            if seen.failure is not None or seen.gone:
                _count_error(series, seen)
            if passage.tries is not None:
                self._write_trace(seen, passage, now_s)
        if self._log is not None:
            self._log.add(
                Story(
                    time.time(),
                    seen.request_id,
                    seen.method,
                    seen.target,
                    seen.status,
                    now_s - seen.started_s,
                    seen.client,
                    seen.started_s,
                    seen.gone,
                    seen.failure,
                    passage,
                )
            )

    # --- inside ---------------------------------------------------------------------------------------

    def _open_log(self, settings: Log) -> RequestLog | None:
        if not settings.requests:
            return None
        json = is_json(settings, self._descriptor)
        return RequestLog(self.counters, json=json, descriptor=self._descriptor)

    def _write_trace(self, seen: Seen, passage: Passage, now_s: float) -> None:
        if self._traces is None or passage.trace is None:
            return  # switched off since the request began
        from headgate.telemetry.spans import Ended  # noqa: PLC0415 -- loaded already, where traces are on

        self._traces.add(
            Ended(
                passage,
                passage.trace,
                seen.request_id,
                seen.method.decode("latin-1"),
                seen.status,
                kind(seen.failure) if seen.failure else CLIENT_GONE if seen.gone else "",
                seen.client,
                seen.started_s,
                now_s,
                time.time_ns() - int(now_s * 1e9),
            )
        )


def _count_usage(series: Series, usage: Usage) -> None:
    series.prompt_tokens += usage.input_tokens
    series.completion_tokens += usage.output_tokens
    if usage.cached_input_tokens:
        series.cached_tokens += usage.cached_input_tokens
    if usage.reasoning_tokens:
        series.reasoning_tokens += usage.reasoning_tokens
    if usage.images or usage.seconds or usage.characters:
        series.images += usage.images
        series.seconds += usage.seconds
        series.characters += usage.characters
    if usage.source is not REPORTED and usage.source is not Source.UNKNOWN:
        series.estimated += 1


def _count_error(series: Series, seen: Seen) -> None:
    name = kind(seen.failure) if seen.failure is not None else CLIENT_GONE
    series.errors[name] = series.errors.get(name, 0) + 1
