"""The one error tree; each class owns its HTTP status, `type` and `code`.

HeadgateError
├── SettingsError                a configuration that cannot be used: file, line, field
├── StoreError                   the data folder cannot be used
│   ├── StoreFull                no room for another record: new requests are refused
│   ├── DatabaseAway             the database cannot be reached or written now
│   ├── RecordMissing            nothing of that name is in the database
│   └── RecordRefused            the record cannot be: its name is taken, or it is not what it should be
├── UpstreamError                what the pool meets on a connection (never shown as it is)
│   ├── ConnectFailed            nothing was sent
│   ├── ConnectionLost           ended early; `answered` tells whether any byte had come
│   ├── UpstreamTimeout          `phase` tells which of connect, first byte, idle ran out
│   └── UpstreamGarbage          not HTTP, or HTTP cut short
│       └── UpstreamTooLong      a body over the limit that its reader set
└── ApiError                     what a client is told
    ├── BadRequest 400           ── InvalidField (names the field)
    ├── Unauthorized 401
    ├── Forbidden 403            ── ModelForbidden
    ├── NotFound 404             ── ModelNotFound
    ├── MethodNotAllowed 405
    ├── RequestTimeout 408
    ├── TooLarge 413
    ├── Overloaded 503
    ├── RateLimited 429          ── QueueFull, TokensLimited, TooManyTokens, InsufficientQuota
    ├── UpstreamFailed 502       ── UpstreamUnavailable 503, UpstreamTimedOut 504
    ├── UpstreamRefused          the upstream's own 4xx, passed on
    └── InternalError 500
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec


class HeadgateError(Exception):
    """Root of every error raised on purpose."""


class SettingsError(HeadgateError):
    """A configuration that cannot be used; the message carries file, line and field."""


class StoreError(HeadgateError):
    """The data folder cannot be used."""


class StoreFull(StoreError):
    """There is no room for another record."""


class DatabaseAway(StoreError):
    """The database cannot be reached or written now; later it may."""


class RecordMissing(StoreError):
    """Nothing of that name is in the database."""


class RecordRefused(StoreError):
    """The record cannot be: its name is taken, or something in it is not as it should be."""


class UpstreamError(HeadgateError):
    """What a connection to an upstream can meet; mapped to an ApiError before a client sees it."""


class ConnectFailed(UpstreamError):
    """No connection could be made, so nothing was sent."""


class ConnectionLost(UpstreamError):
    """The connection ended before the reply did."""

    def __init__(self, message: str, *, reused: bool, answered: bool) -> None:
        super().__init__(message)
        self.reused = reused
        """The connection had carried an earlier request."""
        self.answered = answered
        """At least one byte of this reply had arrived."""


class UpstreamTimeout(UpstreamError):
    """A time limit ran out; `phase` is `connect`, `first byte` or `idle`."""

    def __init__(self, phase: str) -> None:
        super().__init__(f"timed out: {phase}")
        self.phase = phase


class UpstreamGarbage(UpstreamError):
    """The upstream did not speak HTTP, or broke off inside a message."""


class UpstreamTooLong(UpstreamGarbage):
    """A body is longer than whoever reads it allows."""


class ErrorDetail(msgspec.Struct):
    """The object OpenAI's clients expect under `error`; all four keys are always present."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(msgspec.Struct):
    """The body of every error reply."""

    error: ErrorDetail


class ApiError(HeadgateError):
    """An error a client is told, in OpenAI's shape."""

    status: int = 500
    type: ClassVar[str] = "api_error"
    code: str | None = None
    should_retry: ClassVar[bool | None] = None
    """Sent as `x-should-retry`, which the official SDKs obey; None leaves the choice to them."""
    as_body: Callable[[ApiError], bytes] | None = None
    """How another format's clients want it; set where the endpoint is known. None is OpenAI's shape."""
    as_event: Callable[[ApiError], bytes] | None = None
    """The same for the data of an event in a stream."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code
        self.retry_after_ms = retry_after_ms

    def detail(self) -> ErrorDetail:
        """What goes under `error`."""
        return ErrorDetail(self.message, self.type, self.param, self.code)

    def body(self) -> bytes:
        """The JSON reply."""
        if self.as_body is not None:
            return self.as_body(self)
        return msgspec.json.encode(ErrorReply(self.detail()))

    def event(self) -> bytes:
        """The same as one server-sent event, for a stream that has begun."""
        if self.as_event is not None:
            return b"event: error\ndata: " + self.as_event(self) + b"\n\n"
        return b"data: " + self.body() + b"\n\n"

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers that tell a client whether and when to try again."""
        headers: list[tuple[bytes, bytes]] = []
        if self.retry_after_ms is not None:
            # retry-after counts whole seconds: round up, so that nobody comes back too early.
            headers.append((b"retry-after", b"%d" % -(-self.retry_after_ms // 1000)))
            headers.append((b"retry-after-ms", b"%d" % self.retry_after_ms))
        if self.should_retry is not None:
            headers.append((b"x-should-retry", b"true" if self.should_retry else b"false"))
        return headers


class BadRequest(ApiError):
    """The request cannot be understood."""

    status = 400
    type = "invalid_request_error"


class InvalidField(BadRequest):
    """One field is wrong; `param` is its path and `code` says how."""


class Unauthorized(ApiError):
    """No key, or one that is not known."""

    status = 401
    type = "invalid_request_error"
    code: str | None = "invalid_api_key"


class Forbidden(ApiError):
    """The key may not do this."""

    status = 403
    type = "permission_error"


class ModelForbidden(Forbidden):
    """The key may not use this model."""

    type = "invalid_request_error"
    code = "model_not_found"


class NotFound(ApiError):
    """No such route."""

    status = 404
    type = "invalid_request_error"


class ModelNotFound(NotFound):
    """No such model."""

    code = "model_not_found"


class MethodNotAllowed(ApiError):
    """The route exists, with another method."""

    status = 405
    type = "invalid_request_error"


class RequestTimeout(ApiError):
    """The client took too long to send its request."""

    status = 408
    type = "invalid_request_error"


class TooLarge(ApiError):
    """The request is over a size limit."""

    status = 413
    type = "invalid_request_error"


class RateLimited(ApiError):
    """Too much at once; `retry_after_ms` says when there is room again."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"


class TokensLimited(RateLimited):
    """Too many tokens at once."""

    type = "tokens"


class TooManyTokens(TokensLimited):
    """More tokens than a limit ever allows: waiting does not help."""

    should_retry = False


class InsufficientQuota(RateLimited):
    """A budget or a balance is used up; the SDKs would retry any other 429."""

    type = "insufficient_quota"
    code = "insufficient_quota"
    should_retry = False


class QueueFull(RateLimited):
    """An upstream of ours already has as many requests waiting as it may."""


class Overloaded(ApiError):
    """This server cannot take the request now."""

    status = 503


class UpstreamFailed(ApiError):
    """The upstream broke; all our tries are used up."""

    status = 502
    code = "upstream_error"
    should_retry = False


class UpstreamUnavailable(UpstreamFailed):
    """The upstream cannot be reached or says that it is not ready."""

    status = 503
    code = "upstream_unavailable"


class UpstreamTimedOut(UpstreamFailed):
    """The upstream did not answer in time."""

    status = 504
    code = "upstream_timeout"


class UpstreamRefused(ApiError):
    """The upstream judged the request itself and said no; status and words are its own."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        error_type: str,
        param: str | None = None,
        code: str | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message, param=param, code=code, retry_after_ms=retry_after_ms)
        self.status = status
        self.error_type = error_type

    def detail(self) -> ErrorDetail:
        """What goes under `error`, with the upstream's own type."""
        return ErrorDetail(self.message, self.error_type, self.param, self.code)


class InternalError(ApiError):
    """A fault of ours."""

    status = 500
    type = "server_error"
