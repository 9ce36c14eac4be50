"""Request lines: one each, as JSON or for people; nothing in one may end it early or reach a terminal."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import InvalidField, ModelNotFound, RateLimited, UpstreamFailed
from headgate.core.ports import Outcome
from headgate.core.usage import Source, Usage
from headgate.telemetry.lines import Story, as_json, as_text, kind, rfc3339, told
from tests.telemetry.seeing import passage

AT = 1_769_860_800.25
USED = Usage(Source.REPORTED, 12, 5, 30, 9)


def story(known: Any = None, **more: Any) -> Story:
    """A request that was answered well; `known` is its passage."""
    fields: dict[str, Any] = {
        "time_s": AT, "request_id": "req_1", "method": b"POST", "target": b"/v1/chat/completions?key=planted",
        "status": 200, "seconds": 0.8124, "client": "192.0.2.7", "started_s": 100.0, "gone": False,
        "failure": None, "passage": known,
    }  # fmt: skip
    return Story(**(fields | more))


def test_a_line_tells_what_happened() -> None:
    line = told(story(passage(stream=True, outcome=Outcome.OK, usage=USED, first_s=100.12)))
    assert msgspec.to_builtins(line) == {
        "time": AT, "request_id": "req_1", "method": "POST", "path": "/v1/chat/completions", "status": 200,
        "outcome": "ok", "duration_ms": 812.4, "client": "192.0.2.7", "key_id": "key_1",
        "key_name": "team blue", "endpoint": "chat.completions", "model": "m", "target": "up", "stream": True,
        "attempts": 1, "first_token_ms": 120.0, "prompt_tokens": 12, "cached_tokens": 5,
        "completion_tokens": 30, "reasoning_tokens": 9, "usage": "reported",
    }  # fmt: skip


def test_outcomes() -> None:
    assert told(story()).outcome == "ok"
    assert told(story(failure=RateLimited("x"), status=429)).outcome == "rejected"
    failed = told(story(passage(outcome=Outcome.FAILED), failure=UpstreamFailed("x"), status=502))
    assert (failed.outcome, failed.error, failed.code) == ("failed", "upstream_failed", "upstream_error")
    assert told(story(passage(outcome=Outcome.CLIENT_GONE), gone=True)).outcome == "client_gone"
    assert told(story(passage(outcome=None), gone=True)).outcome == "client_gone"


def test_a_line_repeats_no_words_of_the_client() -> None:
    wrong = InvalidField("'the planted prompt'?", param="messages[0].content", code="invalid_value")
    line = told(story(failure=wrong, status=400))
    assert (line.error, line.code, line.param) == ("invalid_field", "invalid_value", "messages[0].content")
    assert "planted" not in repr(line)
    made_up = InvalidField("No", param="the planted prompt", code="invalid_value")
    assert told(story(failure=made_up)).param == ""


def test_kinds_are_the_trees_words() -> None:
    assert kind(UpstreamFailed("x")) == "upstream_failed"
    assert kind(ModelNotFound("x")) == "model_not_found"


def test_a_line_of_json_has_what_is_known_and_nothing_else() -> None:
    (said,) = map(json.loads, as_json([story(failure=RateLimited("x"), status=429)]).splitlines())
    assert said == {
        "time": "2026-01-31T12:00:00.250Z", "level": "info", "event": "request", "request_id": "req_1",
        "method": "POST", "path": "/v1/chat/completions", "status": 429, "outcome": "rejected",
        "duration_ms": 812.4, "client": "192.0.2.7", "error": "rate_limited", "code": "rate_limit_exceeded",
    }  # fmt: skip


def test_people_read_status_model_time_and_who() -> None:
    known = passage(stream=True, outcome=Outcome.OK, usage=USED, first_s=100.12, attempts=2)
    assert as_text([story(known)]).decode() == (
        "2026-01-31T12:00:00.250Z 200 POST /v1/chat/completions m -> up 812 ms (first token 120) "
        "12+30 tokens 2 attempts by team blue req_1\n"
    )
    failed = story(passage(outcome=Outcome.FAILED, target=""), failure=UpstreamFailed("x"), status=502)
    shown = as_text([failed]).decode()
    assert " 502 POST /v1/chat/completions m 812 ms failed: upstream_error by team blue " in shown
    assert b" --- POST" in as_text([story(status=0, gone=True)])


@given(st.lists(st.builds(story, st.builds(passage, model=st.text()), target=st.binary()), max_size=5))
def test_every_line_stays_one_line(stories: list[Story]) -> None:
    said = [json.loads(one) for one in as_json(stories).splitlines()]
    assert [one.get("model", "") for one in said] == [one.passage.model for one in stories if one.passage]
    text = as_text(stories).decode()
    assert text.count("\n") == len(stories)
    assert all(one.isprintable() for one in text.splitlines())


def test_a_line_is_short() -> None:
    assert len(told(story(target=b"/" + b"x" * 10_000)).path) == 200


def test_time_is_utc_with_milliseconds() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(AT) == "2026-01-31T12:00:00.250Z"
