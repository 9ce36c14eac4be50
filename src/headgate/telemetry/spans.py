"""A finished request as OpenTelemetry spans: one for the request, one below it for each attempt.

Names and attributes are those of the GenAI and HTTP semantic conventions. Imported only where traces are on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import AttributeValue

from headgate import __version__
from headgate.core.observer import Passage, Trace, Try
from headgate.core.ports import Outcome
from headgate.core.usage import Usage
from headgate.telemetry.content import answered_messages, asked_messages

SCHEMA = "https://opentelemetry.io/schemas/1.37.0"
"""The version of the conventions that the names below are from."""

_OPERATIONS = {
    "chat.completions": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "messages": "chat",
    "responses": "chat",
}
"""What the conventions call an endpoint's work; they have no word for the others, which keep their names."""

Attributes = dict[str, AttributeValue]


class Ended(NamedTuple):
    """A finished request, copied from where it lived."""

    passage: Passage
    trace: Trace
    request_id: str
    method: str
    status: int
    error: str
    """Class of the error in our tree; empty when there was none."""
    client: str
    started_s: float
    ended_s: float
    """Both on the loop's clock."""
    offset_ns: int
    """Unix time at the loop clock's zero."""


class SpanMaker:
    """Makes spans for one gate: what it is, and who its upstreams are."""

    def __init__(self, resource: Resource, providers: Mapping[str, str]) -> None:
        self._resource = resource
        self._scope = InstrumentationScope("headgate", __version__, SCHEMA)
        self.providers = providers
        """`gen_ai.provider.name` by target."""

    def spans(self, ended: Ended) -> list[ReadableSpan]:
        """The request's span, then those of its attempts."""
        trace, passage = ended.trace, ended.passage
        parent = _context(trace, trace.parent_id, remote=True) if trace.parent_id else None
        own = _context(trace, trace.span_id)
        made = [
            self._span(
                _name(passage.endpoint, passage.model),
                own,
                parent,
                SpanKind.SERVER,
                _of_request(ended),
                _failed(ended.error if ended.status >= 500 or passage.outcome is Outcome.FAILED else ""),
                (_ns(ended, ended.started_s), _ns(ended, ended.ended_s)),
            )
        ]
        made += [
            self._span(
                _name(passage.endpoint, attempt.upstream_model),
                _context(trace, attempt.span_id),
                own,
                SpanKind.CLIENT,
                self._of_attempt(passage, attempt),
                _failed("" if attempt.outcome is Outcome.OK else attempt.outcome.name.lower()),
                (_ns(ended, attempt.started_s), _ns(ended, attempt.ended_s or ended.ended_s)),
            )
            for attempt in passage.tries or ()
        ]
        return made

    def _span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        status: Status,
        times_ns: tuple[int, int],
    ) -> ReadableSpan:
        return ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes,
            kind=kind,
            status=status,
            start_time=times_ns[0],
            end_time=times_ns[1],
            instrumentation_scope=self._scope,
        )

    def _of_attempt(self, passage: Passage, attempt: Try) -> Attributes:
        attributes: Attributes = {
            "gen_ai.operation.name": _OPERATIONS.get(passage.endpoint, passage.endpoint),
            "gen_ai.provider.name": self.providers.get(attempt.target, attempt.target),
            "gen_ai.request.model": attempt.upstream_model,
            "headgate.target": attempt.target,
        }
        if attempt.status:
            attributes["http.response.status_code"] = attempt.status
        if attempt.outcome is not Outcome.OK:
            failed = attempt.status >= 400
            attributes["error.type"] = str(attempt.status) if failed else attempt.outcome.name.lower()
        return attributes | _tokens(attempt.usage)


def _of_request(ended: Ended) -> Attributes:
    passage = ended.passage
    attributes: Attributes = {
        "gen_ai.operation.name": _OPERATIONS.get(passage.endpoint, passage.endpoint),
        "http.request.method": ended.method,
        "headgate.endpoint": passage.endpoint,
        "headgate.request_id": ended.request_id,
        "headgate.attempts": passage.attempts,
    }
    optional: Attributes = {
        "gen_ai.request.model": passage.model,
        "gen_ai.request.stream": passage.stream,
        "http.response.status_code": ended.status,
        "client.address": ended.client,
        "error.type": ended.error,
    }
    if passage.principal is not None:
        optional |= {"headgate.key.id": passage.principal.key_id, "headgate.key.name": passage.principal.name}
    if passage.first_s:
        optional["gen_ai.response.time_to_first_chunk"] = passage.first_s - ended.started_s
    if passage.asked:
        optional["gen_ai.input.messages"] = asked_messages(passage.asked)
    if passage.answered:
        optional["gen_ai.output.messages"] = answered_messages(passage.answered, stream=passage.stream)
    attributes |= {name: value for name, value in optional.items() if value}
    return attributes | _tokens(passage.usage)


def _tokens(usage: Usage) -> Attributes:
    counts = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    return {name: count for name, count in counts.items() if count}


def _name(endpoint: str, model: str) -> str:
    operation = _OPERATIONS.get(endpoint, endpoint)
    return f"{operation} {model}" if model else operation


def _context(trace: Trace, span: int, *, remote: bool = False) -> SpanContext:
    state = TraceState.from_header([trace.state]) if trace.state else None
    return SpanContext(trace.trace_id, span, remote, TraceFlags(TraceFlags.SAMPLED), state)


def _failed(error: str) -> Status:
    return Status(StatusCode.ERROR, error) if error else Status(StatusCode.UNSET)


def _ns(ended: Ended, at_s: float) -> int:
    return ended.offset_ns + int(at_s * 1e9)
