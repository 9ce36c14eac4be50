"""An upstream's error reply in our error tree: what the client did wrong passes in the upstream's words.

Everything else is between the operator and the upstream, and stays there: no key, address or stack gets out.
"""

from __future__ import annotations

import re

import msgspec

from headgate.core.errors import (
    ApiError,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from headgate.core.ports import Headers

MESSAGE_CHARACTERS = 2000
"""Longer messages are cut: some upstreams repeat the whole request in theirs."""

LONGEST_RETRY_MS = 86_400_000
"""Whoever says more than a day means never."""

INVALID_REQUEST = "invalid_request_error"

# The upstream did not wait for its own model, or a proxy in front of it did not.
TIMED_OUT = frozenset((408, 504, 522, 524))
# 529 is said by some hosted services for 503.
UNAVAILABLE = frozenset((503, 529))
# What the operator has to see to: key, payment, permission, base URL. 404 is sorted out by its words.
OPERATORS = frozenset((401, 402, 403, 405, 407))

# Codes with which an upstream says that the operator's account is used up. It comes as 429.
USED_UP = frozenset(("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"))

_KEYS = re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf|key)[-_][A-Za-z0-9_*.-]{6,}|\bBearer\s+\S+|\bAIza[\w-]{20,}")
_PLACES = re.compile(
    r"\b[a-z][a-z0-9+.-]{0,20}://[^\s'\"<>)\]]+|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\blocalhost:\d+"
)
_STACK = re.compile(r"(?:Traceback \(most recent call last\)|\n {1,8}(?:at |File \")).*", re.DOTALL)
_TOO_LONG = re.compile(
    r"maximum context length|exceeds? the (?:available )?context|context[ _]length[ _]exceeded", re.IGNORECASE
)
_NO_SUCH_MODEL = re.compile(r"\bmodel\b", re.IGNORECASE)


class Told(msgspec.Struct):
    """What an upstream says about an error, as far as it can be read; empty where it says nothing."""

    message: str = ""
    type: str | None = None
    param: str | None = None
    code: str | None = None


def refusal(status: int, headers: Headers, body: bytes) -> ApiError:
    """The error to tell a client for an upstream's reply with a status from 400 on."""
    told = read(body)
    wait_ms = retry_after_ms(headers)
    if status in TIMED_OUT:
        return UpstreamTimedOut("The upstream did not answer in time.", retry_after_ms=wait_ms)
    if status in UNAVAILABLE:
        return UpstreamUnavailable("The upstream is not available now.", retry_after_ms=wait_ms)
    if status >= 500 or status in OPERATORS:
        return UpstreamFailed("The upstream could not handle the request.")
    if status == 404 and not (told.code == "model_not_found" or _NO_SUCH_MODEL.search(told.message)):
        return UpstreamFailed("The upstream does not know this route.")
    if status == 429:
        return _limited(told, wait_ms)
    code = told.code
    if status == 404:
        code = "model_not_found"
    elif code is None and _TOO_LONG.search(told.message):
        code = "context_length_exceeded"
    return UpstreamRefused(
        told.message or "The upstream refused the request.",
        # 422 is what validating frameworks say for 400; OpenAI's clients know no other.
        status=status if status in (404, 413) else 400,
        error_type=INVALID_REQUEST,
        param=told.param,
        code=code,
        retry_after_ms=wait_ms,
    )


def _limited(told: Told, wait_ms: int | None) -> ApiError:
    if told.code in USED_UP or told.type in USED_UP:
        return UpstreamUnavailable("The upstream is not available now.")
    return UpstreamRefused(
        told.message or "The upstream's rate limit is reached. Try again later.",
        status=429,
        error_type=told.type if told.type in ("requests", "tokens") else "requests",
        code="rate_limit_exceeded",
        retry_after_ms=wait_ms,
    )


def retry_after_ms(headers: Headers) -> int | None:
    """When the upstream asks to be tried again; None where it does not say, or says it as a date."""
    found: int | None = None
    for name, value in headers:
        if name in (b"retry-after", b"retry-after-ms"):
            try:
                number = float(value)
            except ValueError:
                continue
            wait_ms = number if name == b"retry-after-ms" else number * 1000
            if 0 <= wait_ms <= LONGEST_RETRY_MS and (found is None or name == b"retry-after-ms"):
                found = int(wait_ms)
    return found


def read(body: bytes) -> Told:
    """What an error body says, in whichever of the usual shapes; secrets and places are taken out."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Told()  # a proxy's HTML, or nothing: not written for API clients
    if isinstance(value, list) and value:
        value = value[0]  # Google wraps the error in an array
    if not isinstance(value, dict):
        return Told()
    error = value.get("error", value)
    if isinstance(error, str):
        return Told(clean(error))
    if not isinstance(error, dict):
        return Told()
    message = error.get("message", error.get("detail"))
    if isinstance(message, list):
        # FastAPI's validation: one object per fault.
        message = "; ".join(
            fault["msg"] for fault in message if isinstance(fault, dict) and isinstance(fault.get("msg"), str)
        )
    return Told(
        clean(message) if isinstance(message, str) else "",
        _word(error.get("type")),
        _word(error.get("param")),
        _word(error.get("code")),
    )


def _word(value: object) -> str | None:
    return clean(value)[:200] if isinstance(value, str) and value else None


def clean(text: str) -> str:
    """A message without what is nobody's business: keys, addresses, stacks."""
    # Cut before and after: the patterns need not be quick on text of any length.
    text = _STACK.sub("", text[: 4 * MESSAGE_CHARACTERS]).strip()
    text = _KEYS.sub("[key]", _PLACES.sub("[address]", text))
    return text if len(text) <= MESSAGE_CHARACTERS else text[: MESSAGE_CHARACTERS - 1] + "…"
