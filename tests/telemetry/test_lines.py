"""Request lines: one each, as JSON or for people; nothing in one may end it early or reach a terminal."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from headgate.telemetry.lines import Line, as_json, as_text, rfc3339

AT = 1_769_860_800.25


def line(**known: object) -> Line:
    fields: dict[str, object] = {
        "time": AT, "request_id": "req_1", "method": "POST", "path": "/v1/chat/completions", "status": 200,
        "outcome": "ok", "duration_ms": 812.4, "model": "m", "target": "up", "key_name": "blue",
    }  # fmt: skip
    return Line(**(fields | known))  # type: ignore[arg-type]


def test_a_line_of_json_has_what_is_known_and_nothing_else() -> None:
    (said,) = map(json.loads, as_json([line(prompt_tokens=5, error="rate_limited")]).splitlines())
    assert said == {
        "time": "2026-01-31T12:00:00.250Z", "level": "info", "event": "request", "request_id": "req_1",
        "method": "POST", "path": "/v1/chat/completions", "status": 200, "outcome": "ok",
        "duration_ms": 812.4, "model": "m", "target": "up", "key_name": "blue", "prompt_tokens": 5,
        "error": "rate_limited",
    }  # fmt: skip


def test_people_read_status_model_time_and_who() -> None:
    told = line(first_token_ms=120.4, prompt_tokens=34, completion_tokens=512, attempts=2)
    assert as_text([told]).decode() == (
        "2026-01-31T12:00:00.250Z 200 POST /v1/chat/completions m -> up 812 ms (first token 120) "
        "34+512 tokens 2 attempts by blue req_1\n"
    )
    failed = line(status=503, outcome="failed", error="upstream_unavailable", target="")
    assert (
        " 503 POST /v1/chat/completions m 812 ms failed: upstream_unavailable by blue "
        in as_text([failed]).decode()
    )
    assert b" --- POST" in as_text([line(status=0, outcome="client_gone")])


@given(st.lists(st.builds(line, path=st.text(), model=st.text(), key_name=st.text()), max_size=5))
def test_every_line_stays_one_line(lines: list[Line]) -> None:
    said = [json.loads(one) for one in as_json(lines).splitlines()]
    assert [(one["path"], one.get("model", "")) for one in said] == [(one.path, one.model) for one in lines]
    text = as_text(lines).decode()
    assert text.count("\n") == len(lines)
    assert all(one.isprintable() for one in text.splitlines())


def test_time_is_utc_with_milliseconds() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(AT) == "2026-01-31T12:00:00.250Z"
