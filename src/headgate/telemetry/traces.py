"""Traces on their way out: finished requests become spans in a thread of its own, and leave in batches.

The only module that loads OpenTelemetry's SDK, and only where an endpoint is configured.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from queue import SimpleQueue
from typing import TYPE_CHECKING

from headgate import __version__
from headgate.core.errors import SettingsError
from headgate.telemetry.context import Sampler, make_sampler
from headgate.telemetry.counters import Counters

if TYPE_CHECKING:
    from headgate.core.settings_telemetry import Telemetry
    from headgate.telemetry.spans import Ended

log = logging.getLogger("headgate.telemetry")

MOST_WAITING = 4096
"""Finished requests that wait for the thread; more are dropped: traces may not hold up traffic."""

SIGNAL_PATH = "/v1/traces"

_SWITCHED_OFF = {"true", "1"}
_PROTOCOL = "http/protobuf"


def is_configured(settings: Telemetry, environment: Mapping[str, str]) -> bool:
    """Whether traces are wanted: by the settings, or by the standard variables; raises SettingsError."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() in _SWITCHED_OFF:
        return False
    if settings.otlp_endpoint is not None:
        return True
    if environment.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() != "otlp":
        return False
    named = [environment.get(f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT", "").strip() for kind in ("TRACES_", "")]
    if not any(named):
        return False
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = environment.get(variable, "").strip() or _PROTOCOL
        if protocol != _PROTOCOL:
            raise SettingsError(f"{variable}: {protocol} is not spoken here; expected {_PROTOCOL}")
    return True


def check_traces(settings: Telemetry) -> tuple[bool, Sampler]:
    """Whether traces are wanted, and of which requests; raises SettingsError for what cannot be had."""
    sampler = make_sampler(settings.sample_percent, os.environ)
    wanted = is_configured(settings, os.environ)
    if wanted and not _is_installed():
        raise SettingsError("traces: OpenTelemetry is not installed: pip install 'headgate[traces]'")
    return wanted, sampler


def _is_installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


class Traces:
    """Exports the spans of finished requests until it is stopped."""

    def __init__(self, settings: Telemetry, providers: Mapping[str, str], counters: Counters) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from headgate.telemetry.spans import SpanMaker

        named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        )
        own = {"service.version": __version__} | ({} if named else {"service.name": "headgate"})
        self._counters = counters
        self._maker = SpanMaker(Resource.create(own), providers)
        endpoint = settings.otlp_endpoint
        self._processor = BatchSpanProcessor(
            OTLPSpanExporter(
                endpoint.rstrip("/") + SIGNAL_PATH if endpoint else None,
                headers={key: value.reveal() for key, value in settings.otlp_headers.items()} or None,
            )
        )
        self._waiting: SimpleQueue[Ended | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def name_providers(self, providers: Mapping[str, str]) -> None:
        """Takes the names of a new configuration's upstreams."""
        self._maker.providers = providers

    def add(self, ended: Ended) -> None:
        """Takes a finished request; costs one append."""
        if self._waiting.qsize() >= MOST_WAITING:
            self._counters.traces_dropped += 1
        else:
            self._waiting.put(ended)

    def stop_soon(self) -> None:
        """Sends what waits and ends, without being waited for."""
        self._waiting.put(None)

    def stop(self, limit_s: float = 2.0) -> None:
        """Sends what waits, for so long at most."""
        self.stop_soon()
        self._thread.join(limit_s)

    def _run(self) -> None:
        while (ended := self._waiting.get()) is not None:
            try:
                for span in self._maker.spans(ended):
                    self._processor.on_end(span)
            except Exception:
                log.exception("a trace could not be written")
        self._processor.shutdown()  # type: ignore[no-untyped-call]
