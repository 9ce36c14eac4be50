"""Settings of what operators see from outside: metrics, logs, traces. Records only."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from headgate.core.secret import MaybeSecret

HttpUrl = Annotated[
    str, Meta(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?\Z", description="an http:// or https:// URL")
]
"""Credentials have no place in it: `otlp_headers` carries them."""


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[metrics]`: the page that Prometheus reads."""

    public: bool = False
    """Whether `/metrics` is open to anyone who can connect. Off: it takes the operator's key, for it names
    models and upstreams and tells how busy they are."""


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[log]`: what is written to standard error."""

    format: Literal["auto", "text", "json"] = "auto"
    """`auto` is text for people on a terminal, and JSON, an object a line, where a program reads."""
    requests: bool = True
    """One line for each request. Never a prompt, an answer or a key in it."""


class Telemetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[telemetry]`: OpenTelemetry traces; none, at no cost, until an endpoint is named."""

    otlp_endpoint: HttpUrl | None = None
    """Base URL of an OTLP/HTTP receiver; `/v1/traces` is added, as the standard variables have it. Where this
    is not set, `OTEL_EXPORTER_OTLP_ENDPOINT` and its relatives count."""
    otlp_headers: dict[str, MaybeSecret] = {}
    """Headers for the receiver, such as its key: strings, or references like an upstream's `api_key`."""
    sample_percent: Annotated[int, Meta(ge=0, le=100)] | None = None
    """Share of the requests that are traced, where the caller has not decided already (`traceparent`). Where
    this is not set, `OTEL_TRACES_SAMPLER` and its argument count, and without them every one is traced."""
    prompts: bool = False
    """Put what was asked and answered into the spans. Off: prompts are nobody's business but the client's."""
