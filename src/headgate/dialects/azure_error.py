"""Azure's error replies in our error tree: which filter refused, which limit is reached, whose fault."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from headgate.core.errors import ApiError, UpstreamRefused
from headgate.core.ports import Headers
from headgate.dialects.refusal import INVALID_REQUEST, LONGEST_RETRY_MS, refusal

_FILTERED = "ResponsibleAIPolicyViolation"
_RETRY_AFTER = re.compile(r"retry after (\d{1,5}) (milli)?seconds?", re.IGNORECASE)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
"""What categories of the filters are called; anything else would be text of unknown origin."""


def upstream_error(status: int, headers: Headers, body: bytes) -> ApiError:
    """The error to tell a client for a reply of Azure's with a status from 400 on."""
    error = refusal(status, headers, body)
    told = _told(body)
    if status == 404 and told.get("code") == "DeploymentNotFound":
        # A deployment takes minutes to appear; its name is the operator's, so Azure's words are not passed.
        return UpstreamRefused(
            "The model does not exist at the upstream.",
            status=404,
            error_type=INVALID_REQUEST,
            code="model_not_found",
        )
    if not isinstance(error, UpstreamRefused):
        return error
    if status == 429:
        return _limited(error, str(told.get("message")))
    inner = told.get("innererror", told.get("inner_error"))
    inner = inner if isinstance(inner, dict) else {}
    if error.code == "content_filter" or inner.get("code") == _FILTERED:
        return UpstreamRefused(
            error.message + _categories(inner),
            status=error.status,
            error_type=error.error_type,
            param=error.param,
            code="content_filter",
        )
    if error.code is not None and error.code.isdigit():
        error.code = None  # the status once more
    return error


def _limited(error: UpstreamRefused, message: str) -> UpstreamRefused:
    """Azure's words name the operator's tier and region, and where to ask for more: they are not passed."""
    wait_ms = error.retry_after_ms
    found = _RETRY_AFTER.search(message)
    if wait_ms is None and found:
        wait_ms = min(int(found[1]) * (1 if found[2] else 1000), LONGEST_RETRY_MS)
    return UpstreamRefused(
        "The upstream's rate limit is reached. Try again later.",
        status=429,
        error_type="tokens" if "token rate limit" in message else "requests",
        code=error.code,
        retry_after_ms=wait_ms,
    )


def _categories(inner: dict[str, Any]) -> str:
    results = inner.get("content_filter_result", inner.get("content_filter_results"))
    if not isinstance(results, dict):
        return ""
    names = [
        name
        for name, result in results.items()
        if _NAME.fullmatch(name) and isinstance(result, dict) and result.get("filtered") is True
    ]
    return f" (filtered: {', '.join(names)})" if names else ""


def _told(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else {}
