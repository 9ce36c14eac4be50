"""What a client is told when something is used up: classes, times, and nothing of whose it is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import ApiError, InsufficientQuota, RateLimited, TokensLimited, TooManyTokens
from headgate.core.exceeded import NEVER, Refusal, duration, exceeded
from headgate.core.limit import DAY_MS, MINUTE_MS, Budget, Fund, Places, Rate, Size

REQUESTS = Rate("key:secret/rpm", "requests", 5, MINUTE_MS)
TOKENS = Rate("team:secret/tpd", "tokens", 500, DAY_MS)
PLACES = Places("key:secret/user:ann/places", 2)
SIZE = Size("model:m/size", 100)
FUND = Fund("key:secret/month", "key:secret", Budget(amount_nanodollars=1))
BALANCE = Fund("team:secret/balance", "team:secret", None)


@pytest.mark.parametrize(
    ("refusals", "kind", "retry_after_ms"),
    [
        ([(REQUESTS, 70)], RateLimited, 70),
        ([(TOKENS, 70)], TokensLimited, 70),
        ([(TOKENS, NEVER)], TooManyTokens, None),
        ([(SIZE, NEVER)], TooManyTokens, None),
        ([(FUND, NEVER)], InsufficientQuota, None),
        ([(BALANCE, NEVER)], InsufficientQuota, None),
        ([(PLACES, 0)], RateLimited, 1000),
        ([(REQUESTS, 70), (TOKENS, 80), (PLACES, 0)], TokensLimited, 80),
        ([(REQUESTS, 90), (TOKENS, 80)], RateLimited, 90),
        ([(REQUESTS, 90), (FUND, NEVER)], InsufficientQuota, None),
        ([(SIZE, NEVER), (FUND, NEVER)], TooManyTokens, None),
    ],
)
def test_of_several_the_one_that_waiting_helps_least_is_told(
    refusals: list[Refusal], kind: type[ApiError], retry_after_ms: int | None
) -> None:
    for order in (refusals, refusals[::-1]):
        error = exceeded(order, 120)
        assert type(error) is kind
        assert error.retry_after_ms == retry_after_ms


@pytest.mark.parametrize("meter", [REQUESTS, TOKENS, PLACES, SIZE, FUND, BALANCE])
def test_whose_it_is_stays_inside(meter: Rate | Places | Size | Fund) -> None:
    said = exceeded([(meter, 10)], 120).message
    assert "secret" not in said
    assert "ann" not in said
    assert re.search(r"this (key|team|model|end user)|the team's balance", said)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0ms"), (17, "17ms"), (1000, "1s"), (8640, "8.64s"), (360_000, "6m0s"), (3_600_500, "1h0m0.5s")],
)
def test_times_are_written_as_openai_does(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text


@given(st.integers(0, 10**9))
def test_a_time_is_exact(milliseconds: int) -> None:
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(\d+(?:\.\d+)?)s|(\d+)ms", duration(milliseconds))
    assert found
    if found[4]:
        assert int(found[4]) == milliseconds
    else:
        seconds = int(found[1] or 0) * 3600 + int(found[2] or 0) * 60
        assert seconds * 1000 + round(float(found[3]) * 1000) == milliseconds
