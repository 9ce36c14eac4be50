"""Errors in the shape of endpoints that are not OpenAI's own: each client reads its own format's.

Must not know how an error came about.
"""

from __future__ import annotations

import msgspec

from headgate.core.errors import ApiError

_encode = msgspec.json.Encoder().encode

MESSAGE_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""What the errors of /v1/messages are called, by their status; others are `api_error`."""


def messages_error(error: ApiError) -> bytes:
    """The body of an error of /v1/messages."""
    detail = {"type": MESSAGE_TYPES.get(error.status, "api_error"), "message": error.message}
    return _encode({"type": "error", "error": detail})


def responses_event(error: ApiError) -> bytes:
    """An error in a stream of /v1/responses; its whole replies have OpenAI's usual one."""
    told = error.detail()
    return _encode({"type": "error", "code": told.code, "message": told.message, "param": told.param})
