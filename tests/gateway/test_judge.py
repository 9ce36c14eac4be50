"""What failures mean: docs/routing.md as a table, and how long an upstream asks to be left alone."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from headgate.core.errors import (
    ApiError,
    BadRequest,
    ConnectFailed,
    ConnectionLost,
    InvalidField,
    NotFound,
    Overloaded,
    QueueFull,
    UpstreamError,
    UpstreamFailed,
    UpstreamGarbage,
    UpstreamTimeout,
)
from headgate.core.ports import Headers
from headgate.dialects.refusal import refusal
from headgate.gateway.judge import Blame, asked_rest_ms, judge_connection, judge_error, judge_status

NOW_S = 1_795_000_000.0
LATER = b"Wed, 18 Nov 2026 10:27:00 GMT"
"""Some days before NOW_S."""

NO, FAIL, LIMIT, KEY = Blame.NOBODY, Blame.TARGET, Blame.LIMIT, Blame.KEY


@pytest.mark.parametrize(
    ("error", "blame", "elsewhere", "again"),
    [
        (ConnectFailed("x"), FAIL, True, True),
        (ConnectionLost("x", reused=False, answered=False), FAIL, True, True),
        (ConnectionLost("x", reused=False, answered=True), FAIL, True, True),
        (UpstreamGarbage("x"), FAIL, True, True),
        (UpstreamTimeout("connect"), FAIL, True, True),
        (UpstreamTimeout("first byte"), FAIL, True, False),
        (UpstreamTimeout("idle"), FAIL, True, False),
    ],
)
def test_connections(error: UpstreamError, blame: Blame, elsewhere: bool, again: bool) -> None:
    verdict = judge_connection(error)
    assert (verdict.blame, verdict.elsewhere, verdict.again) == (blame, elsewhere, again)


@pytest.mark.parametrize(
    ("status", "blame", "elsewhere", "again"),
    [
        (302, FAIL, True, False),
        (400, NO, False, False),
        (401, KEY, True, False),
        (402, KEY, True, False),
        (403, KEY, True, False),
        (404, FAIL, True, False),
        (405, FAIL, True, False),
        (407, FAIL, True, False),
        (408, FAIL, True, True),
        (409, NO, True, True),
        (413, NO, False, False),
        (422, NO, False, False),
        (429, LIMIT, True, True),
        (500, FAIL, True, True),
        (502, FAIL, True, True),
        (503, FAIL, True, True),
        (504, FAIL, True, True),
        (522, FAIL, True, True),
        (529, FAIL, True, True),
    ],
)
def test_statuses(status: int, blame: Blame, elsewhere: bool, again: bool) -> None:
    verdict = judge_status(status, (), refusal(max(status, 400), (), b""), NOW_S)
    assert (verdict.blame, verdict.elsewhere, verdict.again) == (blame, elsewhere, again)
    assert not verdict.longer


def test_a_503_that_asks_for_a_rest_gets_it() -> None:
    headers = ((b"retry-after", b"7"),)
    verdict = judge_status(503, headers, refusal(503, headers, b""), NOW_S)
    assert (verdict.blame, verdict.rest_ms) == (LIMIT, 7000)


def test_an_account_that_is_used_up_is_not_asked_again() -> None:
    body = b'{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}'
    verdict = judge_status(429, (), refusal(429, (), body), NOW_S)
    assert (verdict.blame, verdict.elsewhere, verdict.again) == (KEY, True, False)


def test_a_model_that_was_guessed_is_nobodys_fault() -> None:
    error = refusal(404, (), b'{"error":{"message":"no such model","code":"model_not_found"}}')
    verdict = judge_status(404, (), error, NOW_S, guessed_model=True)
    assert (verdict.blame, verdict.elsewhere) == (NO, True)


@pytest.mark.parametrize("status", [400, 413])
def test_too_long_is_for_a_longer_context(status: int) -> None:
    body = b'{"error":{"message":"maximum context length is 10 tokens"}}'
    error = refusal(400, (), body)
    verdict = judge_status(status, (), error, NOW_S)
    assert (verdict.blame, verdict.elsewhere, verdict.longer) == (NO, True, True)


@pytest.mark.parametrize(
    ("error", "blame", "elsewhere", "again"),
    [
        (QueueFull("full"), NO, True, False),
        (Overloaded("not started"), FAIL, True, False),
        (InvalidField("wrong", param="n"), NO, False, False),
        (BadRequest("wrong"), NO, False, False),
        (NotFound("not served by this model"), NO, False, False),
        (UpstreamFailed("an error inside"), FAIL, True, True),
    ],
)
def test_what_has_no_status(error: ApiError, blame: Blame, elsewhere: bool, again: bool) -> None:
    verdict = judge_error(error)
    assert (verdict.blame, verdict.elsewhere, verdict.again) == (blame, elsewhere, again)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), None),
        (((b"retry-after", b"3"),), 3000),
        (((b"retry-after", b"0.5"),), 500),
        (((b"retry-after", b"3"), (b"retry-after-ms", b"1250.7")), 1250),
        (((b"retry-after", b"soon"),), None),
        (((b"retry-after", b"-3"),), None),
        (((b"retry-after", b"Wed, 18 Nov 2026 11:06:45 GMT"),), 5000),
        (((b"retry-after", b"Wed, 18 Nov 2026 11:06:45 -0000"),), 5000),
        (((b"retry-after", b"Wed, 18 Nov 2015 11:06:45 GMT"),), 0),
        (((b"retry-after", b"1795000009"),), 9000),
        (((b"x-ratelimit-reset-requests", b"6m0s"),), None),
        (((b"x-ratelimit-reset-requests", b"6m0s"), (b"x-ratelimit-remaining-requests", b"0")), 360_000),
        (
            (
                (b"x-ratelimit-reset-requests", b"6m0s"),
                (b"x-ratelimit-remaining-requests", b"5"),
                (b"x-ratelimit-reset-tokens", b"20ms"),
                (b"x-ratelimit-remaining-tokens", b"0"),
            ),
            20,
        ),
        (((b"x-ratelimit-reset", b"1795000002000"), (b"x-ratelimit-remaining", b"0")), 2000),
        (((b"x-ratelimit-reset", b"1h0m1.5s"), (b"x-ratelimit-remaining", b"0")), 3_601_500),
        (((b"x-ratelimit-reset", b"2026-11-18T11:06:41Z"), (b"x-ratelimit-remaining", b"0")), 1000),
        (((b"x-ratelimit-reset", b"whenever"), (b"x-ratelimit-remaining", b"0")), None),
    ],
)
def test_how_long_a_rest_is(headers: Headers, expected: int | None) -> None:
    assert asked_rest_ms(headers, NOW_S) == expected


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"retry-after", b"retry-after-ms", b"x-ratelimit-reset", b"x-ratelimit-remaining"]
            ),
            st.binary(max_size=12) | st.sampled_from([b"0", b"1", b"9" * 400, LATER, b"1e9", b"nan", b"inf"]),
        )
    )
)
def test_no_header_makes_it_fail(headers: list[tuple[bytes, bytes]]) -> None:
    found = asked_rest_ms(headers, NOW_S)
    assert found is None or found >= 0
