"""Bytes of HTTP/1.1 replies, and what a request's head must satisfy before anyone acts on it.

Pure. httptools has already refused both length headers together, a repeated content-length, folded headers
and bare CR or LF; the checks here are the ones it leaves out (RFC 9112, sections 3.2, 6.1 and 11.2).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from itertools import chain

from headgate.core.errors import ApiError, BadRequest, TooLarge

STATUS_LINES: dict[int, bytes] = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}
"""The first line of a reply by its status."""

BODILESS = frozenset({204, 304})
"""Statuses whose replies have neither a body nor a content-length (RFC 9110, section 8.6)."""

LAST_CHUNK = b"0\r\n\r\n"

SINGLE_HEADERS = frozenset(
    {
        b"host",
        b"authorization",
        b"x-api-key",
        b"content-type",
        b"content-encoding",
        b"expect",
        b"transfer-encoding",
    }
)
"""Headers that decide who asks and what is read: two of one kind are refused, since the next reader of the
same request may believe the other one."""


def status_line(status: int) -> bytes:
    """The first line of a reply, also for statuses nobody has named."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status


def chunk(data: bytes) -> bytes:
    """One piece of a chunked body; `data` must not be empty, for that would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def too_large(limit_bytes: int) -> TooLarge:
    """The error for a body over its endpoint's limit."""
    return TooLarge(f"The request body is too large: the limit here is {limit_bytes} bytes.")


class ExpectationFailed(ApiError):
    """The client expects something that we do not know."""

    status = 417
    type = "invalid_request_error"


class HeadTooLarge(ApiError):
    """The request's head is over a limit."""

    status = 431
    type = "invalid_request_error"


class UnsupportedEncoding(ApiError):
    """The body is packed in a way that we cannot unpack."""

    status = 415
    type = "invalid_request_error"


class UnsupportedTransfer(ApiError):
    """The body is transferred in a way that we do not know (RFC 9112, section 6.1)."""

    status = 501
    type = "invalid_request_error"


class UnsupportedVersion(ApiError):
    """Not HTTP/1.0 or HTTP/1.1."""

    status = 505
    type = "invalid_request_error"


def head_fault(version: str, fields: dict[bytes, bytes], lines: list[tuple[bytes, bytes]]) -> ApiError | None:
    """What is wrong with a request's head, or None. `fields` is `dict(lines)`.

    After any of these the connection cannot be trusted to be in step, so it is closed.
    """
    single = len(fields) == len(lines)
    if single and version == "1.1" and b"host" in fields and b"transfer-encoding" not in fields:
        return None  # nearly every request
    if not single:
        fault = _repeated(lines)
        if fault is not None:
            return fault
    if version == "1.1":
        if b"host" not in fields:
            return BadRequest("The request has no Host header.")
    elif version != "1.0":
        return UnsupportedVersion(f"HTTP/{version} is not spoken here; use HTTP/1.1.")
    transfer = fields.get(b"transfer-encoding")
    if transfer is not None:
        if version == "1.0":
            return BadRequest("HTTP/1.0 has no transfer-encoding.")
        if transfer.strip().lower() != b"chunked":
            return UnsupportedTransfer("The only transfer-encoding known here is chunked.")
    return None


def size_fault(
    target: bytes, lines: list[tuple[bytes, bytes]], limit_bytes: int, limit_count: int
) -> ApiError | None:
    """The error for a head over its limits, or None."""
    if len(lines) > limit_count or len(target) + sum(map(len, chain.from_iterable(lines))) > limit_bytes:
        return HeadTooLarge("The request's head is too large.")
    return None


def _repeated(lines: list[tuple[bytes, bytes]]) -> ApiError | None:
    seen: set[bytes] = set()
    for name, _ in lines:
        if name in seen and name in SINGLE_HEADERS:
            return BadRequest(f"The header {name.decode('latin-1')} may be sent only once.")
        seen.add(name)
    return None


_NEGOTIATED = frozenset({b"expect", b"content-encoding"})


def soft_fault(fields: dict[bytes, bytes]) -> ApiError | None:
    """What we cannot do for an otherwise well-formed request, or None."""
    if _NEGOTIATED.isdisjoint(fields):
        return None
    expect = fields.get(b"expect")
    if expect is not None and expect.strip().lower() != b"100-continue":
        return ExpectationFailed("The only expectation known here is 100-continue.")
    encoding = fields.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in (b"gzip", b"identity"):
        return UnsupportedEncoding("Request bodies may be sent plain or with content-encoding gzip.")
    return None


def framing(fields: dict[bytes, bytes]) -> bytes:
    """The head of a request whose body is as long as that of the one with these fields."""
    named = (name for name in (b"content-length", b"transfer-encoding") if name in fields)
    return b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(b"%b: %b\r\n" % (name, fields[name]) for name in named)


_AUTHORITY = re.compile(rb"[^/?#]*")


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target; the authority of an absolute one is ignored, as Host is."""
    if not target.startswith(b"/"):
        _, mark, rest = target.partition(b"://")
        if mark:
            target = _AUTHORITY.sub(b"", rest, count=1)
            if not target.startswith(b"/"):
                target = b"/" + target
    path, _, query = target.partition(b"?")
    return path, query
