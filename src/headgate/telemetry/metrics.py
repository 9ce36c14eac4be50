"""The table of metrics: one row each, with its name, its labels, and where its numbers are.

Knows how counters become samples; must not know how a page is asked for or written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Literal

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from headgate.core.observer import Reading, TargetReading, UpstreamReading
from headgate.core.ports import Outcome
from headgate.telemetry.counters import Counters, Histogram, Series

LABELS = ("endpoint", "model", "target")
BREAKER_STATES = ("closed", "half_open", "open")

Found = Iterable[tuple[tuple[str, ...], float]]
"""Label values, and a number."""


class Row(msgspec.Struct, frozen=True):
    """One metric; `docs/observability.md` has a line for each."""

    name: str
    """As it stands on the page, a counter's `_total` included."""
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    of_series: Callable[[Series], Found] | None = None
    """Numbers of one series, with the values of the labels after LABELS."""
    histogram: Callable[[Series], Histogram] | None = None
    of_upstream: Callable[[UpstreamReading], Found] | None = None
    """Numbers of one upstream, with the values of the labels after `target`."""
    of_target: Callable[[TargetReading], Found] | None = None
    """Numbers of one target, with the values of the labels after `model` and `target`."""
    of_gate: Callable[[Counters, Reading], float] | None = None


def _one(value: float) -> Found:
    return (((), value),)


def _by_name(counts: dict[str, int]) -> Found:
    return [((name,), count) for name, count in list(counts.items())]


def _attempts(series: Series) -> Found:
    return [
        ((outcome.name.lower(),), series.attempts[outcome]) for outcome in Outcome if series.attempts[outcome]
    ]


def _tokens(series: Series) -> Found:
    # OpenAI's counts contain each other: cached tokens are prompt tokens too, reasoning is completion.
    yield ("prompt",), series.prompt_tokens
    yield ("cached",), series.cached_tokens
    yield ("completion",), series.completion_tokens
    yield ("reasoning",), series.reasoning_tokens


def _units(series: Series) -> Found:
    counts = {"images": series.images, "seconds": series.seconds, "characters": series.characters}
    return [((kind,), count) for kind, count in counts.items() if count]


def _breaker(target: TargetReading) -> Found:
    return [((state,), float(state == target.breaker)) for state in BREAKER_STATES]


def _connections(upstream: UpstreamReading) -> Found:
    yield ("idle",), upstream.idle_connections
    yield ("busy",), upstream.open_connections - upstream.idle_connections


ROWS: tuple[Row, ...] = (
    Row("headgate_requests_total", "counter", "Requests to models that have ended, well or not.", LABELS,
        of_series=lambda series: _one(series.requests)),
    Row("headgate_errors_total", "counter", "Requests that ended with an error, by kind.", (*LABELS, "kind"),
        of_series=lambda series: _by_name(series.errors)),
    Row("headgate_attempts_total", "counter", "Requests sent to targets, by how they ended.",
        (*LABELS, "outcome"), of_series=_attempts),
    Row("headgate_tokens_total", "counter", "Tokens by kind: cached ones are also counted as prompt, "
        "reasoning ones as completion.", (*LABELS, "kind"), of_series=_tokens),
    Row("headgate_units_total", "counter", "What is not counted in tokens: images made, seconds of sound, "
        "characters spoken.", (*LABELS, "kind"), of_series=_units),
    Row("headgate_estimated_usage_total", "counter", "Attempts whose tokens nobody reported: estimated.",
        LABELS, of_series=lambda series: _one(series.estimated)),
    Row("headgate_request_duration_seconds", "histogram", "From a request's head to the end of its reply.",
        LABELS, histogram=lambda series: series.duration),
    Row("headgate_time_to_first_token_seconds", "histogram", "From a request's head to the first piece of a "
        "streamed answer.", LABELS, histogram=lambda series: series.first_token),
    Row("headgate_time_between_tokens_seconds", "histogram", "Between two reads of a stream: a sample of one "
        "in eight.", LABELS, histogram=lambda series: series.between),
    Row("headgate_target_in_flight", "gauge", "Requests that a target is working on.", ("model", "target"),
        of_target=lambda target: _one(target.in_flight)),
    Row("headgate_target_waiting", "gauge", "Requests that wait for a place at a target.",
        ("model", "target"), of_target=lambda target: _one(target.waiting)),
    Row("headgate_target_breaker", "gauge", "State of a target's circuit breaker: 1 for the one it is in.",
        ("model", "target", "state"), of_target=_breaker),
    Row("headgate_target_resting_seconds", "gauge", "How much longer a target rests, as it asked to.",
        ("model", "target"), of_target=lambda target: _one(target.resting_ms / 1000)),
    Row("headgate_upstream_connections", "gauge", "Connections to a target, by state.", ("target", "state"),
        of_upstream=_connections),
    Row("headgate_client_connections", "gauge", "Clients that are connected.",
        of_gate=lambda _, now: now.connections),
    Row("headgate_event_loop_lag_seconds", "histogram", "How late the event loop comes to its clock, looked "
        "at four times a second."),
    Row("headgate_journal_open_attempts", "gauge", "Attempts in the journal that have no outcome yet.",
        of_gate=lambda _, now: now.journal_open),
    Row("headgate_journal_writable", "gauge", "1 while records can be written; requests are refused at 0.",
        of_gate=lambda _, now: float(now.journal_works)),
    Row("headgate_journal_damaged_places", "gauge", "Damaged places that the start found in the journal.",
        of_gate=lambda _, now: now.journal_damage),
    Row("headgate_log_lines_dropped_total", "counter", "Request lines that were not written because nobody "
        "read standard error in time.", of_gate=lambda counters, _: counters.log_lines_dropped),
    Row("headgate_traces_dropped_total", "counter", "Traced requests whose spans were not sent because the "
        "receiver did not keep up.", of_gate=lambda counters, _: counters.traces_dropped),
)  # fmt: skip
"""Every metric of ours. The page has prometheus-client's `process_*` and `python_*` ones too."""


class Collector:
    """Makes samples of what is counted, and of what is looked up."""

    def __init__(self, counters: Counters, read: Callable[[], Reading]) -> None:
        self._counters = counters
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Every metric: looks up at once, and makes each one's samples as it is asked for."""
        now = self._read()
        return (self._family(row, now) for row in ROWS)

    def _family(self, row: Row, now: Reading) -> Metric:
        if row.kind == "histogram":
            return self._histogram(row)
        kind = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
        family = kind(row.name, row.help, labels=row.labels)
        if row.of_series is not None:
            for key, series in self._counters.all():
                for values, number in row.of_series(series):
                    family.add_metric((*key, *values), number)
        if row.of_upstream is not None:
            for upstream in now.upstreams:
                for values, number in row.of_upstream(upstream):
                    family.add_metric((upstream.name, *values), number)
        if row.of_target is not None:
            for target in now.targets:
                for values, number in row.of_target(target):
                    family.add_metric((target.model, target.target, *values), number)
        if row.of_gate is not None:
            family.add_metric((), row.of_gate(self._counters, now))
        return family

    def _histogram(self, row: Row) -> HistogramMetricFamily:
        family = HistogramMetricFamily(row.name, row.help, labels=row.labels)
        if row.histogram is None:
            family.add_metric((), *_buckets(self._counters.lag))
            return family
        for key, series in self._counters.all():
            histogram = row.histogram(series)
            if any(histogram.counts):
                family.add_metric(key, *_buckets(histogram))
        return family


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    # The copy is one step of the interpreter: the loop may count on meanwhile.
    cumulated = accumulate(list(histogram.counts))
    names = [*map(str, histogram.bounds), "+Inf"]
    return list(zip(names, cumulated, strict=True)), histogram.total
