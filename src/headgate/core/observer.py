"""The port of telemetry, and the records that cross it: what the edge and the gateway tell of a request.

Continues `core/ports.py`, and is joined in `headgate.app` like the others. Nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from headgate.core.errors import ApiError
from headgate.core.ports import Headers, Outcome, Principal
from headgate.core.usage import UNKNOWN_USAGE, Usage


class Trace(msgspec.Struct, frozen=True):
    """A request's place in a distributed trace (W3C Trace Context)."""

    trace_id: int
    """128 bits."""
    span_id: int
    """64 bits, of the span that stands for the request here."""
    parent_id: int = 0
    """The caller's span; 0 when the trace begins here."""
    sampled: bool = True
    """Whether spans are made of it. One that is not sampled is passed on all the same, so that those behind
    us decide as their caller did."""
    state: str = ""
    """The caller's `tracestate`, passed on as it came."""


class Try(msgspec.Struct):
    """One attempt of a request that is traced."""

    target: str
    upstream_model: str
    span_id: int
    started_s: float
    ended_s: float = 0.0
    outcome: Outcome = Outcome.UNKNOWN
    status: int = 0
    usage: Usage = UNKNOWN_USAGE


GUESSED = "*"
"""Stands for every name of a model that is not listed."""


class Passage(msgspec.Struct, gc=False):
    """What is seen from outside of one request; whoever does a step fills in what it knows.

    Nothing of what was asked or answered is in it, unless the operator wants prompts in traces.
    """

    endpoint: str
    observer: Observer
    """Whom to tell."""
    principal: Principal | None = None
    model: str = ""
    """The model's own name; empty until one was named that is served."""
    label: str = ""
    """The same for counters: GUESSED for a name that only a `*` stands for, which is a client's text."""
    target: str = ""
    """Who answered, or was asked last; this and the next three are of the last attempt that has ended."""
    stream: bool = False
    attempts: int = 0
    outcome: Outcome | None = None
    """None when nothing was sent. Before a second attempt's is put here, call `Observer.again`."""
    status: int = 0
    """What the upstream answered; 0 when it did not."""
    usage: Usage = UNKNOWN_USAGE
    first_s: float = 0.0
    """When the first piece of an answer left for the client, on the loop's clock; 0 until then."""
    trace: Trace | None = None
    tries: list[Try] | None = None
    """Kept where `trace` is sampled."""
    asked: bytes = b""
    """The request's body, only when the operator wants prompts in traces."""
    answered: list[bytes] | None = None
    """The reply's body, likewise."""


class Seen(Protocol):
    """A request that has been answered, as far as an observer looks at it."""

    request_id: str
    started_s: float
    status: int
    """What the client was answered; 0 when it left before."""
    gone: bool
    failure: ApiError | None
    """What it was told, or what ended its stream."""
    passage: Passage | None
    """None for what is no request to a model."""

    @property
    def method(self) -> bytes: ...

    @property
    def target(self) -> bytes:
        """Path and query, as they were sent."""
        ...

    @property
    def client(self) -> str:
        """The address it came from."""
        ...

    def header(self, name: bytes) -> bytes | None: ...


class Observer(Protocol):
    """Told what happens to requests. Every call is on the loop, returns at once and never raises."""

    tracing: bool
    """Call `trace` for every request, and for one that has a `trace` then, `sending` before each attempt and
    `sent` after it."""

    def trace(self, seen: Seen, passage: Passage) -> None:
        """A request to a model has come: decides whether it is traced."""
        ...

    def sending(self, passage: Passage, target: str, upstream_model: str) -> tuple[Try, Headers]:
        """An attempt of a traced request is about to be sent, with these headers besides its own."""
        ...

    def sent(self, attempt: Try, outcome: Outcome, status: int, usage: Usage) -> None:
        """An attempt of a traced request has ended."""
        ...

    def again(self, passage: Passage) -> None:
        """The attempt that has ended is not the last one: what is known of it will be overwritten."""
        ...

    def between(self, passage: Passage, gap_s: float) -> None:
        """Two reads of a stream were so far apart (a sample of them)."""
        ...

    def ended(self, seen: Seen) -> None:
        """A request has been answered, or its client has left."""
        ...


class UpstreamReading(msgspec.Struct, frozen=True):
    """The connections to one upstream now."""

    name: str
    open_connections: int
    idle_connections: int


class TargetReading(msgspec.Struct, frozen=True):
    """How one target is doing now: a model at an upstream."""

    model: str
    target: str
    """The upstream's name."""
    upstream_model: str
    breaker: str
    """`closed`, `open` or `half_open`."""
    resting_ms: int
    """How much longer it rests; 0 when it does not."""
    in_flight: int
    places: int | None
    """How many requests it takes at once; None without a bound."""
    waiting: int
    """Requests that wait for a place."""
    requests: int
    """Within the window of its health, those that tell something."""
    failures: int
    first_byte_ms: float
    """To the first byte of a reply, smoothed; 0 when nothing came within the window."""


class Reading(msgspec.Struct, frozen=True):
    """How the gate is doing now: what is looked up rather than counted."""

    connections: int
    """Clients connected."""
    upstreams: Sequence[UpstreamReading] = ()
    targets: Sequence[TargetReading] = ()
    """Of the models that are listed; names that only a `*` stands for are clients' text."""
    journal_open: int = 0
    """Attempts without an outcome yet."""
    journal_works: bool = True
    """Whether records can be written; requests are refused when not."""
    journal_damage: int = 0
    """Damaged places that were found at the start."""
