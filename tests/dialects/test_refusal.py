"""What a client is told of an upstream's error: its own fault in the upstream's words, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import (
    ApiError,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from headgate.dialects.refusal import clean, refusal

OPENAI = {
    "error": {"message": "Bad top_p.", "type": "invalid_request_error", "param": "top_p", "code": "bad_value"}
}


def told(status: int, body: Any, headers: Any = ()) -> ApiError:
    return refusal(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


FAILED = "The upstream could not handle the request."
REFUSED = "The upstream refused the request."
VLLM = {"object": "error", "message": "too warm", "type": "BadRequestError", "code": 400}
GOOGLE = [{"error": {"code": 400, "message": "in an array", "status": "INVALID_ARGUMENT"}}]
NO_MODEL = {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "reply_status", "message"),
    [
        (400, OPENAI, UpstreamRefused, 400, "Bad top_p."),
        (422, {"detail": [{"loc": ["body"], "msg": "n is odd"}]}, UpstreamRefused, 400, "n is odd"),
        (422, {"detail": "nope"}, UpstreamRefused, 400, "nope"),
        (400, VLLM, UpstreamRefused, 400, "too warm"),
        (400, {"error": "plain words"}, UpstreamRefused, 400, "plain words"),
        (400, GOOGLE, UpstreamRefused, 400, "in an array"),
        (400, b"<html>Bad Request</html>", UpstreamRefused, 400, REFUSED),
        (400, b"", UpstreamRefused, 400, REFUSED),
        (413, OPENAI, UpstreamRefused, 413, "Bad top_p."),
        (409, OPENAI, UpstreamRefused, 400, "Bad top_p."),
        (404, NO_MODEL, UpstreamRefused, 404, "The model `x` does not exist"),
        (404, {"detail": "Not Found"}, UpstreamFailed, 502, "The upstream does not know this route."),
        (401, OPENAI, UpstreamFailed, 502, FAILED),
        (403, OPENAI, UpstreamFailed, 502, FAILED),
        (402, OPENAI, UpstreamFailed, 502, FAILED),
        (405, OPENAI, UpstreamFailed, 502, FAILED),
        (500, OPENAI, UpstreamFailed, 502, FAILED),
        (502, b"<html>nginx</html>", UpstreamFailed, 502, FAILED),
        (503, OPENAI, UpstreamUnavailable, 503, "The upstream is not available now."),
        (529, OPENAI, UpstreamUnavailable, 503, "The upstream is not available now."),
        (504, OPENAI, UpstreamTimedOut, 504, "The upstream did not answer in time."),
        (408, OPENAI, UpstreamTimedOut, 504, "The upstream did not answer in time."),
        (524, b"", UpstreamTimedOut, 504, "The upstream did not answer in time."),
    ],
)
def test_table(status: int, body: Any, kind: type[ApiError], reply_status: int, message: str) -> None:
    error = told(status, body)
    assert type(error) is kind
    assert error.status == reply_status
    assert error.message == message
    detail = error.detail()
    if kind is UpstreamRefused:
        assert detail.type == "invalid_request_error"
    assert json.loads(error.body())["error"].keys() == {"message", "type", "param", "code"}


def test_param_and_code_pass() -> None:
    detail = told(400, OPENAI).detail()
    assert (detail.param, detail.code) == ("top_p", "bad_value")
    assert told(404, {"error": {"message": "no such model"}}).detail().code == "model_not_found"


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000.",
        "request (9019 tokens) exceeds the available context size (4096 tokens)",
    ],
)
def test_a_context_that_is_too_long_has_its_code(message: str) -> None:
    assert told(400, {"message": message, "code": 400}).detail().code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        ([(b"retry-after", b"7")], 7000),
        ([(b"retry-after", b"0.5")], 500),
        ([(b"retry-after-ms", b"250"), (b"retry-after", b"1")], 250),
        ([(b"retry-after", b"1"), (b"retry-after-ms", b"250")], 250),
        ([(b"retry-after", b"Wed, 21 Oct 2026 07:28:00 GMT")], None),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"inf")], None),
        ([(b"retry-after", b"9999999999")], None),
        ([], None),
    ],
)
def test_a_rate_limit_passes_with_its_wait(headers: Any, wait_ms: int | None) -> None:
    error = told(429, {"error": {"message": "Slow down.", "type": "tokens", "code": "x"}}, headers)
    assert isinstance(error, UpstreamRefused)
    assert (error.status, error.message, error.code) == (429, "Slow down.", "rate_limit_exceeded")
    assert error.detail().type == "tokens"
    assert error.retry_after_ms == wait_ms


def test_the_operator_s_empty_account_is_not_the_client_s() -> None:
    error = told(
        429,
        {
            "error": {
                "message": "You exceeded your current quota",
                "type": "insufficient_quota",
                "code": "insufficient_quota",
            }
        },
    )
    assert isinstance(error, UpstreamUnavailable)
    assert "quota" not in error.message


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Incorrect key sk-proj-abcDEF123456 given", "Incorrect key [key] given"),
        ("bad Bearer abc.def", "bad [key]"),
        ("AIzaSyA1234567890abcdefghijklmnop is wrong", "[key] is wrong"),
        ("no route to http://10.0.0.7:8000/v1 now", "no route to [address] now"),
        ("connect 192.168.1.20:9000 refused", "connect [address] refused"),
        ("localhost:11434 is down", "[address] is down"),
        ('boom\nTraceback (most recent call last):\n  File "/srv/x.py", line 3', "boom"),
        ("oops\n    at Object.<anonymous> (/srv/app.js:3:1)\n    at x", "oops"),
        ("n must be at most 4", "n must be at most 4"),
    ],
)
def test_secrets_places_and_stacks_are_taken_out(said: str, shown: str) -> None:
    assert clean(said) == shown
    assert told(400, {"error": {"message": said}}).message == shown


def test_long_messages_are_cut_and_cost_no_time() -> None:
    for unit in ("a.", " ", "sk-", "http", "1.", "\n  "):
        text = unit * 400_000
        # A pattern that goes back and forth would take hours.
        assert len(clean(text)) <= 2000


@given(st.integers(400, 599), st.binary(max_size=300))
def test_no_body_can_break_it(status: int, body: bytes) -> None:
    error = refusal(status, [], body)
    assert 400 <= error.status < 600


@given(
    st.integers(400, 599),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["error", "message", "detail", "code", "type", "param", "msg"]),
                inner,
                max_size=4,
            )
        ),
    ),
)
def test_no_json_can_break_it(status: int, body: Any) -> None:
    detail = told(status, body).detail()
    assert isinstance(detail.message, str)
    assert detail.message
