"""Anthropic's errors in our tree: whole replies, and events in a stream.

Source: platform.claude.com/docs/en/api/errors. What concerns the operator's account stays inside.
"""

from __future__ import annotations

import re

from headgate.core.errors import ApiError, InvalidField, UpstreamRefused, UpstreamUnavailable
from headgate.core.ports import Headers
from headgate.dialects.refusal import INVALID_REQUEST, read, refusal, retry_after_ms

_TOO_LONG = re.compile(
    r"prompt is too long|exceed context limit|exceeds? the context window|exceeds? the available context",
    re.IGNORECASE,
)
# Said with status 400: the account is used up, which no client can help.
_ACCOUNT = re.compile(r"credit balance|spend(?:ing)? limit|API usage limits|billing", re.IGNORECASE)

EVENT_CODES = {
    "overloaded_error": "upstream_unavailable",
    "timeout_error": "upstream_timeout",
    "rate_limit_error": "rate_limit_exceeded",
}
"""Our codes for errors that come inside a stream, by Anthropic's types."""


def upstream_error(status: int, headers: Headers, body: bytes) -> ApiError:
    """The error to tell a client for a reply with a status from 400 on."""
    if status == 429:
        # Its words name the operator's organisation and limits.
        about_tokens = "token" in read(body).message
        return UpstreamRefused(
            "The upstream's rate limit is reached. Try again later.",
            status=429,
            error_type="tokens" if about_tokens else "requests",
            code="rate_limit_exceeded",
            retry_after_ms=retry_after_ms(headers),
        )
    if status == 400:
        told = read(body)
        if _ACCOUNT.search(told.message):
            return UpstreamUnavailable("The upstream is not available now.")
        if _TOO_LONG.search(told.message):
            return InvalidField(told.message, param="messages", code="context_length_exceeded")
        return UpstreamRefused(
            told.message or "The upstream refused the request.", status=400, error_type=INVALID_REQUEST
        )
    return refusal(status, headers, body)


def event_code(kind: str | None) -> str:
    """Our code for an error event of this type."""
    return EVENT_CODES.get(kind or "", "upstream_error")
