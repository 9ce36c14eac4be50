"""W3C Trace Context: what is taken from a caller, what is made, and who is traced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import SettingsError
from headgate.telemetry.context import begin, headers, make_sampler

ALWAYS = make_sampler(100, {})
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TAKEN = f"00-{TRACE}-{PARENT}-01".encode()


def test_a_callers_trace_is_continued() -> None:
    trace = begin(TAKEN, b"congo=t61rcWkgMzE", ALWAYS)
    assert (trace.trace_id, trace.parent_id) == (int(TRACE, 16), int(PARENT, 16))
    assert trace.sampled
    assert trace.span_id not in (0, trace.parent_id)
    assert dict(headers(trace, 7)) == {
        b"traceparent": f"00-{TRACE}-{7:016x}-01".encode(), b"tracestate": b"congo=t61rcWkgMzE",
    }  # fmt: skip


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert begin(f"01-{TRACE}-{PARENT}-01-more".encode(), None, ALWAYS).trace_id == int(TRACE, 16)


@pytest.mark.parametrize(
    "broken",
    [
        "", "x", TRACE, f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-1", f"00-{TRACE.upper()}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01, 00-{TRACE}-{PARENT}-01",
    ],
)  # fmt: skip
def test_what_is_no_trace_begins_a_new_one(broken: str) -> None:
    trace = begin(broken.encode(), b"a=b", ALWAYS)
    assert trace.trace_id not in (0, int(TRACE, 16))
    assert (trace.parent_id, trace.state) == (0, "")


@given(st.binary(), st.binary())
def test_no_header_can_break_what_is_passed_on(parent: bytes, state: bytes) -> None:
    for given_parent in (parent, TAKEN):
        for name, value in headers(begin(given_parent, state, ALWAYS), 1):
            assert name in (b"traceparent", b"tracestate")
            assert all(0x20 <= byte < 0x7F for byte in value)


def test_a_state_that_is_too_long_is_dropped() -> None:
    assert begin(TAKEN, b"a=" + b"b" * 511, ALWAYS).state == ""
    assert begin(TAKEN, b"a=" + b"b" * 510, ALWAYS).state != ""


@pytest.mark.parametrize(
    ("percent", "environment", "root", "under_sampled", "under_unsampled"),
    [
        (None, {}, True, True, False),
        (0, {}, False, True, False),
        (100, {"OTEL_TRACES_SAMPLER": "always_off"}, True, True, False),
        (None, {"OTEL_TRACES_SAMPLER": "always_on"}, True, True, True),
        (None, {"OTEL_TRACES_SAMPLER": "always_off"}, False, False, False),
        (None, {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, False, True, False),
        (None, {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, False, False, False),
        (None, {"OTEL_TRACES_SAMPLER": "Parentbased_TraceIdRatio"}, True, True, False),
    ],
)
def test_who_is_traced(
    percent: int | None, environment: dict[str, str], root: bool, under_sampled: bool, under_unsampled: bool
) -> None:
    sampler = make_sampler(percent, environment)
    assert begin(None, None, sampler).sampled is root
    assert begin(TAKEN, None, sampler).sampled is under_sampled
    assert begin(TAKEN[:-1] + b"0", None, sampler).sampled is under_unsampled


def test_a_share_is_about_that_share_and_the_same_everywhere() -> None:
    sampler = make_sampler(25, {})
    traces = [begin(None, None, sampler) for _ in range(4000)]
    assert 800 < sum(trace.sampled for trace in traces) < 1200
    other = make_sampler(None, {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"})
    assert all(other(trace.trace_id, None) == trace.sampled for trace in traces)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "OTEL_TRACES_SAMPLER: expected always_on"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "from 0 to 1"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "all"}, "from 0 to 1"),
    ],
)
def test_a_wrong_sampler_is_refused(environment: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        make_sampler(None, environment)
