"""Bedrock's errors in our tree: whole replies, and exceptions in a stream.

Source: docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html. What concerns the
operator's account, its quotas and its permissions stays inside.
"""

from __future__ import annotations

import re

from headgate.core.errors import (
    ApiError,
    InvalidField,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from headgate.core.ports import Headers
from headgate.dialects.refusal import INVALID_REQUEST, read, refusal, retry_after_ms

_TOO_LONG = re.compile(
    r"input is too long|prompt is too long|too many input tokens|exceed context limit|context[ _]length"
    r"|exceeds? (?:the )?(?:model'?s? )?(?:max(?:imum)? )?context|maximum (?:number of )?(?:input )?tokens",
    re.IGNORECASE,
)
# Said with status 400 or 404 of a model that is not there, or not any more.
_NO_SUCH_MODEL = re.compile(
    r"model identifier is invalid|end of its life|not found|could not resolve", re.IGNORECASE
)
# Said with status 400 of what the operator has set up.
_OPERATORS = re.compile(
    r"on-demand throughput|not authorized|access to the model|not available in|use case details",
    re.IGNORECASE,
)
_RESOURCES = re.compile(r"\barn:aws[a-z-]*:[^\s'\",)]+|\b\d{12}\b")

EVENT_CODES = {
    "throttlingException": "rate_limit_exceeded",
    "serviceUnavailableException": "upstream_unavailable",
}
"""Our codes for exceptions that come inside a stream."""


def upstream_error(status: int, headers: Headers, body: bytes) -> ApiError:
    """The error to tell a client for a reply with a status from 400 on."""
    kind = dict(headers).get(b"x-amzn-errortype", b"").decode("latin-1").partition(":")[0]
    told = read(body)
    if status == 429 and kind != "ModelNotReadyException":
        # Its words tell the operator's quotas.
        return UpstreamRefused(
            "The upstream's rate limit is reached. Try again later.",
            status=429,
            error_type="tokens" if "token" in told.message else "requests",
            code="rate_limit_exceeded",
            retry_after_ms=retry_after_ms(headers),
        )
    if kind in ("ModelNotReadyException", "ServiceQuotaExceededException"):
        return UpstreamUnavailable(
            "The upstream is not available now.", retry_after_ms=retry_after_ms(headers)
        )
    if kind == "ModelTimeoutException":
        return UpstreamTimedOut("The upstream did not answer in time.")
    if status == 424:
        return UpstreamFailed("The upstream's model gave no answer.")
    if status in (400, 404):
        return _refused(status, kind, _RESOURCES.sub("[address]", told.message))
    return refusal(status, headers, body)


def _refused(status: int, kind: str, message: str) -> ApiError:
    if _OPERATORS.search(message) or kind in ("UnrecognizedClientException", "ExpiredTokenException"):
        return UpstreamFailed("The upstream could not handle the request.")
    if _TOO_LONG.search(message):
        return InvalidField(message, param="messages", code="context_length_exceeded")
    if _NO_SUCH_MODEL.search(message):
        return UpstreamRefused(
            "The upstream does not know this model.",
            status=404,
            error_type=INVALID_REQUEST,
            code="model_not_found",
        )
    if status == 404:
        return UpstreamFailed("The upstream does not know this route.")
    return UpstreamRefused(
        message or "The upstream refused the request.", status=400, error_type=INVALID_REQUEST
    )


def event_code(kind: str) -> str:
    """Our code for an exception of this name in a stream."""
    return EVENT_CODES.get(kind, "upstream_error")
