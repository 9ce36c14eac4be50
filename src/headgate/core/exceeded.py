"""What a client is told when something is used up: OpenAI's words and classes, and a true time to wait."""

from __future__ import annotations

from collections.abc import Iterable

from headgate.core.errors import ApiError, InsufficientQuota, RateLimited, TokensLimited, TooManyTokens
from headgate.core.limit import MINUTE_MS, Fund, Meter, Places, Rate, Size

NEVER = -1
"""Waiting does not help."""
PLACE_RETRY_MS = 1000
"""When to come back for a place among concurrent requests: nobody knows when one of them will end."""

Refusal = tuple[Meter, int]
"""A meter that does not let a request through, and for how many milliseconds, or `NEVER`."""

_RENEWAL = {
    "once": "",
    "day": " It is renewed every day.",
    "week": " It is renewed every week.",
    "month": " It is renewed every month.",
}


def exceeded(refusals: Iterable[Refusal], tokens: int) -> ApiError:
    """The error for a request of so many tokens: first what waiting does not mend, then the longest wait.

    So a client that waits as long as it is told gets through, if nobody else comes before it.
    """
    meter, wait_ms = max(refusals, key=_weight)
    if isinstance(meter, Size):
        return TooManyTokens(
            f"Request too large{_whose(meter)}: at most {meter.limit} tokens in one request, prompt and "
            f"longest answer together; requested {tokens}. Ask for fewer with max_completion_tokens."
        )
    if isinstance(meter, Fund):
        return _out_of_money(meter)
    if isinstance(meter, Places):
        return RateLimited(
            f"Rate limit reached{_whose(meter)}: at most {meter.limit} requests at once.",
            retry_after_ms=PLACE_RETRY_MS,
        )
    per = "min" if meter.period_ms == MINUTE_MS else "day"
    limit = f"{meter.of} per {per}: limit {meter.limit}"
    requested = tokens if meter.of == "tokens" else 1
    if wait_ms == NEVER:
        kind = TooManyTokens if meter.of == "tokens" else RateLimited
        return kind(f"Request too large{_whose(meter)} on {limit}, requested {requested}.")
    kind = TokensLimited if meter.of == "tokens" else RateLimited
    return kind(
        f"Rate limit reached{_whose(meter)} on {limit}, requested {requested}. "
        f"Please try again in {duration(wait_ms)}.",
        retry_after_ms=wait_ms,
    )


def duration(milliseconds: int) -> str:
    """A time as OpenAI's headers write it, exact: `17ms`, `8.64s`, `6m0s`, `1h0m0s`."""
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    seconds, fraction = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{seconds}.{fraction:03d}".rstrip("0") if fraction else str(seconds)
    if hours:
        return f"{hours}h{minutes}m{text}s"
    return f"{minutes}m{text}s" if minutes else f"{text}s"


def _weight(refusal: Refusal) -> tuple[int, int]:
    meter, wait_ms = refusal
    if isinstance(meter, Size) or (isinstance(meter, Rate) and wait_ms == NEVER):
        return (3, 0)
    if isinstance(meter, Fund):
        return (2, 0)
    return (1, wait_ms) if isinstance(meter, Rate) else (0, 0)


def _out_of_money(fund: Fund) -> ApiError:
    if fund.budget is None:
        return InsufficientQuota(
            "You exceeded your current quota: what is left of the team's balance does not cover this request."
        )
    period = fund.budget.period
    return InsufficientQuota(
        f"You exceeded your current quota: what is left of the budget{_whose(fund)} does not cover this "
        f"request.{_RENEWAL[period]}"
    )


def _whose(meter: Meter) -> str:
    """Of whom, by kind alone: ids are the operator's own."""
    account = meter.id.rsplit("/", 1)[0]
    if "/user:" in account:
        return " for this end user"
    if "/model:" in account:
        return " for this model"
    return f" for this {account.partition(':')[0]}"
