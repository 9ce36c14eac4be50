"""Gemini's errors in our tree: whole replies, and events in a stream.

Source: ai.google.dev/gemini-api/docs/troubleshooting and google.rpc's error details. What concerns the
operator's account, project and quotas stays inside.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from headgate.core.errors import ApiError, InvalidField, UpstreamFailed, UpstreamRefused
from headgate.core.ports import Headers
from headgate.dialects.refusal import INVALID_REQUEST, read, refusal, retry_after_ms

_TOO_LONG = re.compile(
    r"input token count.{0,40}exceeds the maximum|exceeds the maximum number of tokens", re.IGNORECASE
)
# Said with status 400: an unknown key, a region that is not served, an account without billing.
_ACCOUNT = re.compile(r"API[ _]key|location is not supported|billing|credits", re.IGNORECASE)
# Said of a model that does not exist; any other 404 is a wrong base URL.
_NO_SUCH_MODEL = re.compile(r"models?/|\bmodel\b", re.IGNORECASE)
_DELAY = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")

EVENT_CODES = {
    "UNAVAILABLE": "upstream_unavailable",
    "DEADLINE_EXCEEDED": "upstream_timeout",
    "RESOURCE_EXHAUSTED": "rate_limit_exceeded",
}
"""Our codes for errors that come inside a stream, by google.rpc's names."""


def upstream_error(status: int, headers: Headers, body: bytes) -> ApiError:
    """The error to tell a client for a reply with a status from 400 on."""
    delay_ms = _retry_delay_ms(body)
    if delay_ms is not None:
        headers = (*headers, (b"retry-after-ms", b"%d" % delay_ms))
    told = read(body)
    if status == 429:
        # Its words name the operator's project and quotas.
        return UpstreamRefused(
            "The upstream's rate limit is reached. Try again later.",
            status=429,
            error_type="tokens" if b"token" in body.lower() else "requests",
            code="rate_limit_exceeded",
            retry_after_ms=retry_after_ms(headers),
        )
    if status == 400:
        if _ACCOUNT.search(told.message):
            return UpstreamFailed("The upstream could not handle the request.")
        if _TOO_LONG.search(told.message):
            return InvalidField(told.message, param="messages", code="context_length_exceeded")
    if status == 404 and _NO_SUCH_MODEL.search(told.message):
        return UpstreamRefused(told.message, status=404, error_type=INVALID_REQUEST, code="model_not_found")
    return refusal(status, headers, body)


def event_code(status: str | None) -> str:
    """Our code for an error of this google.rpc status in a stream."""
    return EVENT_CODES.get(status or "", "upstream_error")


def _retry_delay_ms(body: bytes) -> int | None:
    """`retryDelay` of a google.rpc.RetryInfo; None where there is none."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(value, list) and value:
        value = value[0]  # streams wrap the error in an array
    match value:
        case {"error": {"details": list(details)}}:
            for detail in details:
                if isinstance(detail, dict) and isinstance(delay := detail.get("retryDelay"), str):
                    found = _DELAY.fullmatch(delay)
                    return None if found is None else -int(-float(found[1]) * 1000 // 1)
    return None
