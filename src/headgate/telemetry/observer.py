"""The `core.observer.Observer`: what happens to requests becomes counters, lines and traces.

On the hot path a request costs a handful of additions; lines and spans are written elsewhere, by threads.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from functools import lru_cache

from headgate.core.errors import ApiError
from headgate.core.observer import Passage, Seen, Try
from headgate.core.ports import Headers, Outcome
from headgate.core.settings_telemetry import Log
from headgate.core.settings_telemetry import Telemetry as TraceSettings
from headgate.core.usage import Source, Usage
from headgate.telemetry import context
from headgate.telemetry.counters import Counters, Series
from headgate.telemetry.lag import LagWatch
from headgate.telemetry.lines import Line
from headgate.telemetry.log import STDERR, RequestLog, is_json
from headgate.telemetry.traces import Traces, check_traces

_OUTCOMES = {outcome: outcome.name.lower() for outcome in Outcome}
_SOURCES = {Source.REPORTED: "reported", Source.ESTIMATED: "estimated", Source.PARTIAL: "partial"}

CLIENT_GONE = "client_gone"
REJECTED = "rejected"
"""The gate itself said no; nothing was sent upstream."""

# A field's path in our own words. What a client made up (a key of its own) is not repeated.
_PLAIN_PARAM = re.compile(r"[a-z_]+(?:\[\d+\]|\.[a-z_]+)*")


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

    def sending(self, passage: Passage, target: str, upstream_model: str) -> Headers:
        """Notes an attempt of a traced request; returns what tells the upstream of the trace."""
        assert passage.trace is not None
        span_id = context.span_id()
        if passage.tries is not None:
            passage.tries.append(Try(target, upstream_model, span_id, self._clock()))
            return context.headers(passage.trace, span_id)
        # Nobody keeps a span of ours: what comes behind us belongs to the caller's.
        return context.headers(passage.trace, passage.trace.parent_id or passage.trace.span_id)

    def tried(self, passage: Passage, target: str, outcome: Outcome, status: int, usage: Usage) -> None:
        """Counts an attempt that has ended."""
        passage.outcome = outcome
        passage.usage = usage
        series = self.counters.series(passage.endpoint, passage.label, target)
        name = _OUTCOMES[outcome]
        series.attempts[name] = series.attempts.get(name, 0) + 1
        series.used(usage)
        if passage.tries:
            last = passage.tries[-1]
            last.ended_s, last.outcome, last.status, last.usage = self._clock(), outcome, status, usage

    def between(self, passage: Passage, gap_s: float) -> None:
        """Counts one of the pauses in a stream."""
        self.counters.series(passage.endpoint, passage.label, passage.target).between.add(gap_s)

    def ended(self, seen: Seen) -> None:
        """Counts a request that has been answered, and has it written down."""
        passage = seen.passage
        now_s = self._clock()
        if passage is not None:
            series = self.counters.series(passage.endpoint, passage.label, passage.target)
            series.requests += 1
            series.duration.add(now_s - seen.started_s)
            if passage.first_s and passage.stream:
                series.first_token.add(passage.first_s - seen.started_s)
            if seen.failure is not None or seen.gone:
                _count_error(series, seen)
            if passage.tries is not None:
                self._write_trace(seen, passage, now_s)
        if self._log is not None:
            self._log.add(_line(seen, passage, now_s))

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


def kind(error: ApiError) -> str:
    """A kind of error as a label: its class in words with underscores. There are as many as the tree has."""
    return _words(type(error).__name__)


@lru_cache(maxsize=256)
def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _count_error(series: Series, seen: Seen) -> None:
    name = kind(seen.failure) if seen.failure is not None else CLIENT_GONE
    series.errors[name] = series.errors.get(name, 0) + 1


def _line(seen: Seen, passage: Passage | None, now_s: float) -> Line:
    line = Line(
        time.time(),
        seen.request_id,
        seen.method.decode("latin-1"),
        seen.path[:200].decode("latin-1"),
        seen.status,
        "ok",
        round((now_s - seen.started_s) * 1000, 1),
        seen.client,
    )
    error = seen.failure
    if error is not None:
        line.outcome = REJECTED
        line.error, line.code = kind(error), error.code or ""
        if error.param and _PLAIN_PARAM.fullmatch(error.param):
            line.param = error.param
    elif seen.gone:
        line.outcome = CLIENT_GONE
    if passage is not None:
        _tell_passage(line, seen, passage)
    return line


def _tell_passage(line: Line, seen: Seen, passage: Passage) -> None:
    """Adds what is known of a request to a model."""
    if passage.principal is not None:
        line.key_id, line.key_name = passage.principal.key_id, passage.principal.name
    line.endpoint, line.model, line.target = passage.endpoint, passage.model, passage.target
    line.stream, line.attempts = passage.stream, passage.attempts
    if passage.outcome is not None and line.outcome != CLIENT_GONE:
        line.outcome = _OUTCOMES[passage.outcome]
    if passage.first_s:
        line.first_token_ms = round((passage.first_s - seen.started_s) * 1000, 1)
    usage = passage.usage
    line.prompt_tokens, line.completion_tokens = usage.input_tokens, usage.output_tokens
    line.cached_tokens, line.reasoning_tokens = usage.cached_input_tokens, usage.reasoning_tokens
    line.usage = _SOURCES.get(usage.source, "")
    if passage.trace is not None:
        line.trace_id = f"{passage.trace.trace_id:032x}"
