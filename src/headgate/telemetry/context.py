"""W3C Trace Context and the decision whether a request is traced. Pure but for the random ids.

The rules: https://www.w3.org/TR/trace-context/ (headers), OpenTelemetry's SDK specification (samplers).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping

from headgate.core.errors import SettingsError
from headgate.core.observer import Trace
from headgate.core.ports import Headers

# A version above 00 may have more behind a dash; ff is none.
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = 1
_STATE_CHARACTERS = 512
"""What the specification asks everyone to pass on at least; a longer one is dropped, as it allows."""
_PRINTABLE = re.compile(r"[\x20-\x7e]*")

_RATIO_BITS = 63
"""The lower bits of a trace's id that a share is taken of: every service then takes the same traces."""

Sampler = Callable[[int, bool | None], bool]
"""Trace id and what the caller decided (None without a caller) to whether it is traced."""

_ids = random.Random()  # seeded by the system, and names, not secrets


def begin(traceparent: bytes | None, tracestate: bytes | None, sampler: Sampler) -> Trace:
    """The trace of a request, the caller's or a new one."""
    found = _PARENT.fullmatch(traceparent.decode("latin-1").strip()) if traceparent else None
    if found and (found[1] != "00" or len(found[0]) == 55):
        trace_id, parent_id = int(found[2], 16), int(found[3], 16)
        if trace_id and parent_id:
            decided = bool(int(found[4], 16) & _SAMPLED)
            state = tracestate.decode("latin-1").strip() if tracestate else ""
            if len(state) > _STATE_CHARACTERS or not _PRINTABLE.fullmatch(state):
                state = ""
            return Trace(trace_id, span_id(), parent_id, sampler(trace_id, decided), state)
    trace_id = _ids.getrandbits(128) or 1
    return Trace(trace_id, span_id(), 0, sampler(trace_id, None))


def span_id() -> int:
    """A new span's id."""
    return _ids.getrandbits(64) or 1


def headers(trace: Trace, span: int) -> Headers:
    """What tells the next one where it stands: below this span."""
    parent = b"00-%032x-%016x-%02x" % (trace.trace_id, span, trace.sampled)
    lines = [(b"traceparent", parent)]
    if trace.state:
        lines.append((b"tracestate", trace.state.encode("ascii")))
    return lines


def make_sampler(percent: int | None, environment: Mapping[str, str]) -> Sampler:
    """Who is traced: by the setting, else by OTEL_TRACES_SAMPLER and its argument; raises SettingsError."""
    if percent is not None:
        return _by_parent(_share(percent / 100))
    name = environment.get("OTEL_TRACES_SAMPLER", "").strip().lower() or "parentbased_always_on"
    ratio = 1.0
    if name.endswith("traceidratio"):
        argument = environment.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1"
        try:
            ratio = float(argument)
        except ValueError:
            ratio = -1.0
        if not 0 <= ratio <= 1:
            raise SettingsError("OTEL_TRACES_SAMPLER_ARG: expected a number from 0 to 1")
    own = {"always_on": 1.0, "always_off": 0.0, "traceidratio": ratio}.get(name.removeprefix("parentbased_"))
    if own is None:
        raise SettingsError(
            "OTEL_TRACES_SAMPLER: expected always_on, always_off or traceidratio, or parentbased_ and one"
        )
    return _by_parent(_share(own)) if name.startswith("parentbased_") else _share(own)


def _share(ratio: float) -> Sampler:
    limit = round(ratio * 2**_RATIO_BITS)
    mask = 2**_RATIO_BITS - 1
    return lambda trace_id, _: (trace_id & mask) < limit


def _by_parent(own: Sampler) -> Sampler:
    return lambda trace_id, decided: own(trace_id, None) if decided is None else decided
