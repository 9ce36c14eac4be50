"""Cohere's errors in our tree. Source: docs.cohere.com/v2/reference/errors."""

from __future__ import annotations

import re

from headgate.core.errors import ApiError, InvalidField, UpstreamFailed, UpstreamRefused
from headgate.core.ports import Headers
from headgate.dialects.refusal import read, refusal, retry_after_ms

_TOO_LONG = re.compile(
    r"too many tokens|token limit exceeded|exceeds? the (?:model's )?context", re.IGNORECASE
)

INVALID_TOKEN = 498
"""A status of Cohere's own: a key that is none any more."""
CANCELLED = 499
"""Another: whoever asked went away, which we did not."""


def upstream_error(status: int, headers: Headers, body: bytes) -> ApiError:
    """The error to tell a client for a reply with a status from 400 on."""
    if status == 429:
        # Its words tell what kind of key the operator has.
        return UpstreamRefused(
            "The upstream's rate limit is reached. Try again later.",
            status=429,
            error_type="tokens" if "token" in read(body).message else "requests",
            code="rate_limit_exceeded",
            retry_after_ms=retry_after_ms(headers),
        )
    if status in (INVALID_TOKEN, CANCELLED):
        return UpstreamFailed("The upstream could not handle the request.")
    if status in (400, 413, 422):
        told = read(body)
        if _TOO_LONG.search(told.message):
            return InvalidField(told.message, param="messages", code="context_length_exceeded")
    return refusal(status, headers, body)
