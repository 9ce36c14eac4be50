"""Traces against a real OTLP/HTTP receiver: what arrives, decoded, and what never does."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from headgate.core.errors import SettingsError, UpstreamFailed
from headgate.core.observer import Passage, Trace, Try
from headgate.core.ports import Outcome
from headgate.core.secret import MaybeSecret
from headgate.core.settings_telemetry import Telemetry as Settings
from headgate.core.usage import Source, Usage
from headgate.telemetry.counters import Counters
from headgate.telemetry.spans import Ended
from headgate.telemetry.traces import MOST_WAITING, Traces, is_configured
from tests.telemetry.receiver import attributes, receiving
from tests.telemetry.seeing import passage

TRACE = Trace(trace_id=0xABC, span_id=0x11, parent_id=0x99, state="vendor=1")
USED = Usage(Source.REPORTED, 12, 5, 30, 9)


def ended(told: Passage, **known: object) -> Ended:
    fields: dict[str, object] = {
        "passage": told, "trace": TRACE, "request_id": "req_1", "method": "POST", "status": 200, "error": "",
        "client": "192.0.2.7", "started_s": 10.0, "ended_s": 12.5, "offset_ns": 1_700_000_000_000_000_000,
    }  # fmt: skip
    return Ended(**(fields | known))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")


def test_a_request_and_its_attempts_become_spans() -> None:
    tries = [
        Try("far", "gpt-x", 0x21, 10.1, 10.5, Outcome.FAILED, 503),
        Try("near", "org/model", 0x22, 10.6, 12.4, Outcome.OK, 200, USED),
    ]
    told = passage(
        stream=True, attempts=2, outcome=Outcome.OK, usage=USED, first_s=10.7, trace=TRACE, tries=tries
    )
    with receiving() as receiver:
        headers = {"x-collector-key": MaybeSecret("sesame", origin="env COLLECTOR_KEY")}
        settings = Settings(otlp_endpoint=receiver.url + "/", otlp_headers=headers)
        traces = Traces(settings, {"far": "openai", "near": "vllm"}, Counters())
        traces.add(ended(told))
        spans = receiver.named(3)
        traces.stop()
    assert set(receiver.paths) == {"/v1/traces"}
    assert receiver.headers[0]["x-collector-key"] == "sesame"
    assert receiver.resources[0]["service.name"] == "headgate"

    request = spans["chat m"]
    assert request.kind == Span.SPAN_KIND_SERVER
    assert request.trace_id == bytes(14) + b"\x0a\xbc"
    assert (request.span_id[-1], request.parent_span_id[-1]) == (0x11, 0x99)
    assert request.trace_state == "vendor=1"
    assert request.start_time_unix_nano == 1_700_000_010_000_000_000
    assert request.end_time_unix_nano == 1_700_000_012_500_000_000
    assert request.status.code == Status.STATUS_CODE_UNSET
    assert attributes(request) == {
        "gen_ai.operation.name": "chat", "http.request.method": "POST",
        "headgate.endpoint": "chat.completions",
        "headgate.request_id": "req_1", "headgate.attempts": 2, "gen_ai.request.model": "m",
        "gen_ai.request.stream": True, "http.response.status_code": 200, "client.address": "192.0.2.7",
        "headgate.key.id": "key_1", "headgate.key.name": "team blue",
        "gen_ai.response.time_to_first_chunk": pytest.approx(0.7),
        "gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 5, "gen_ai.usage.reasoning.output_tokens": 9,
    }  # fmt: skip

    failed, good = spans["chat gpt-x"], spans["chat org/model"]
    assert {failed.kind, good.kind} == {Span.SPAN_KIND_CLIENT}
    assert failed.parent_span_id == good.parent_span_id == request.span_id
    assert (failed.span_id[-1], good.span_id[-1]) == (0x21, 0x22)
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert attributes(failed) == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-x",
        "headgate.target": "far", "http.response.status_code": 503, "error.type": "503",
    }  # fmt: skip
    assert attributes(good)["gen_ai.provider.name"] == "vllm"
    assert attributes(good)["gen_ai.usage.output_tokens"] == 30


def test_a_failed_request_says_what_failed() -> None:
    with receiving() as receiver:
        traces = Traces(Settings(otlp_endpoint=receiver.url), {}, Counters())
        told = passage(outcome=Outcome.FAILED, trace=TRACE, tries=[])
        traces.add(ended(told, status=502, error="upstream_failed"))
        traces.stop()
        (span,) = receiver.spans
    assert attributes(span)["error.type"] == "upstream_failed"
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert UpstreamFailed.__name__ not in receiver.raw.decode("latin-1")


def test_prompts_are_in_spans_only_when_they_were_kept() -> None:
    asked = json.dumps({"messages": [{"role": "user", "content": "the planted prompt"}]}).encode()
    reply = {"choices": [{"index": 0, "message": {"content": "the planted answer"}, "finish_reason": "stop"}]}
    with receiving() as receiver:
        traces = Traces(Settings(otlp_endpoint=receiver.url), {}, Counters())
        traces.add(ended(passage(tries=[])))
        receiver.named(1)
        assert b"planted" not in receiver.raw
        traces.add(ended(passage(tries=[], asked=asked, answered=[json.dumps(reply).encode()])))
        traces.stop()
        said = attributes(receiver.spans[1])
    assert json.loads(said["gen_ai.input.messages"])[0]["parts"][0]["content"] == "the planted prompt"
    assert json.loads(said["gen_ai.output.messages"])[0]["parts"][0]["content"] == "the planted answer"


def test_what_waits_is_sent_at_the_end() -> None:
    with receiving() as receiver:
        traces = Traces(Settings(otlp_endpoint=receiver.url), {}, Counters())
        for number in range(1500):
            traces.add(ended(passage(tries=[]), request_id=f"req_{number}"))
        traces.stop()
        names = [attributes(span)["headgate.request_id"] for span in receiver.spans]
    assert names == [f"req_{number}" for number in range(1500)]
    assert len(receiver.paths) < 100, "batches"


def test_a_flood_is_dropped_and_counted() -> None:
    counters = Counters()
    with receiving() as receiver:
        traces = Traces(Settings(otlp_endpoint=receiver.url), {}, counters)
        told = ended(passage(tries=[]))
        # Faster than spans can be made: sooner or later the queue is full.
        while not counters.traces_dropped:
            for _ in range(MOST_WAITING):
                traces.add(told)
        traces.stop()


WANTED = "http://collector:4318"


@pytest.mark.parametrize(
    ("endpoint", "environment", "wanted"),
    [
        (None, {}, False),
        (WANTED, {}, True),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": WANTED}, True),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": WANTED}, True),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": WANTED, "OTEL_TRACES_EXPORTER": "none"}, False),
        (WANTED, {"OTEL_SDK_DISABLED": "true"}, False),
        (None, {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": WANTED}, False),
    ],
)
def test_when_traces_are_wanted(endpoint: str | None, environment: dict[str, str], wanted: bool) -> None:
    assert is_configured(Settings(otlp_endpoint=endpoint), environment) is wanted


def test_a_protocol_that_is_not_spoken_is_refused() -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": WANTED, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with pytest.raises(SettingsError, match=r"OTEL_EXPORTER_OTLP_PROTOCOL: grpc is not spoken here"):
        is_configured(Settings(), environment)


def test_the_standard_variables_say_where_and_who(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=front,deployment.environment.name=test")
        traces = Traces(Settings(), {}, Counters())
        traces.add(ended(passage(tries=[])))
        traces.stop()
    assert receiver.paths == ["/v1/traces"]
    assert receiver.headers[0]["x-tenant"] == "blue"
    assert receiver.headers[0]["content-encoding"] == "gzip"
    assert receiver.resources[0]["service.name"] == "front"
    assert receiver.resources[0]["deployment.environment.name"] == "test"


def test_telemetry_without_traces_loads_no_opentelemetry() -> None:
    code = "import sys, headgate.telemetry.observer, headgate.telemetry.page\nprint(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    assert "prometheus_client" in loaded
    assert not loaded & {"opentelemetry", "google", "requests"}
