"""What a failed attempt means: who is to blame, whether to try elsewhere or again, how long to rest.

Pure. docs/routing.md shows the same as a table.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

import msgspec

from headgate.core.errors import (
    ApiError,
    BadRequest,
    NotFound,
    Overloaded,
    QueueFull,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimedOut,
    UpstreamTimeout,
)
from headgate.core.ports import Headers
from headgate.dialects.refusal import TIMED_OUT, UNAVAILABLE, USED_UP

TOO_LONG = "context_length_exceeded"

LONGEST_SECONDS = 10 * 365 * 86_400
"""A number above this is a date: Unix time, not a wait."""


class Blame(Enum):
    """What is learnt of the target."""

    NOBODY = "nobody"
    TARGET = "target"
    """A failure of its own: counts towards its breaker."""
    LIMIT = "limit"
    """It is well, and asks for a rest: the key if there are several, else the target."""
    KEY = "key"
    """The key was refused: it rests if there are several, else this is a failure."""


class Verdict(msgspec.Struct, frozen=True):
    """What a failed attempt means."""

    blame: Blame
    elsewhere: bool = False
    """Another target may be asked at once."""
    again: bool = False
    """The same target may be asked after a back-off."""
    longer: bool = False
    """Only a target with a longer context is worth asking."""
    rest_ms: int | None = None
    """How long a rest was asked for."""
    other_key: bool = False
    """The same target may be asked at once, with another of its keys."""
    used_up: bool = False
    """The operator's account has no more to spend: nothing that a second try could change."""
    kind: str = "other"
    """A word for metrics, of a small set."""


CLIENTS = Verdict(Blame.NOBODY, kind="refused")
BROKEN = Verdict(Blame.TARGET, elsewhere=True, again=True, kind="broken")
"""A reply that is none, or an error inside one: the default for what fails after the head."""
SLOW = Verdict(Blame.TARGET, elsewhere=True, kind="timeout")
FULL = Verdict(Blame.NOBODY, elsewhere=True, kind="full")
UNABLE = Verdict(Blame.NOBODY, elsewhere=True, kind="unable")
"""The dialect has no word for something in the request; nothing was sent."""
OURS = Verdict(Blame.NOBODY, kind="ours")


def judge_connection(error: UpstreamError) -> Verdict:
    """What an error of the pool means."""
    if isinstance(error, UpstreamTimeout) and error.phase != "connect":
        return SLOW
    return msgspec.structs.replace(BROKEN, kind="connection")


def judge_status(
    status: int, headers: Headers, error: ApiError, now_s: float, *, guessed_model: bool = False
) -> Verdict:
    """What a reply's error status means; `error` is the dialect's view of it, `now_s` Unix time.

    `guessed_model`: the target stands for any name that fits, so not knowing this one is no fault.
    """
    rest_ms = asked_rest_ms(headers, now_s)
    if status == 429:
        if getattr(error, "code", None) in USED_UP or not isinstance(error, UpstreamRefused):
            return Verdict(Blame.KEY, elsewhere=True, used_up=True, kind="used_up")
        return Verdict(Blame.LIMIT, elsewhere=True, again=True, rest_ms=rest_ms, kind="limited")
    if error.code == TOO_LONG:
        return Verdict(Blame.NOBODY, elsewhere=True, longer=True, kind="too_long")
    if status in (401, 402, 403):
        return Verdict(Blame.KEY, elsewhere=True, kind="key")
    if status == 409:
        return Verdict(Blame.NOBODY, elsewhere=True, again=True, kind="conflict")
    if status in UNAVAILABLE and rest_ms:
        return Verdict(Blame.LIMIT, elsewhere=True, again=True, rest_ms=rest_ms, kind="unavailable")
    if status >= 500 or status in TIMED_OUT or status < 400:
        return Verdict(Blame.TARGET, elsewhere=True, again=status >= 400, kind=f"status_{status // 100}xx")
    if status == 404 and guessed_model:
        return Verdict(Blame.NOBODY, elsewhere=True, kind="no_such_model")
    if status in (404, 405, 407):
        return Verdict(Blame.TARGET, elsewhere=True, kind="misconfigured")
    return CLIENTS


def judge_error(error: ApiError) -> Verdict:
    """What an error means that has neither connection nor status: found inside a reply, or our own."""
    if isinstance(error, QueueFull):
        return FULL
    if isinstance(error, UpstreamTimedOut):
        return SLOW
    if isinstance(error, Overloaded):
        return msgspec.structs.replace(BROKEN, again=False, kind="not_started")
    if error.code == TOO_LONG:
        return Verdict(Blame.NOBODY, elsewhere=True, longer=True, kind="too_long")
    if isinstance(error, BadRequest | NotFound):  # a dialect refuses what its upstream does not serve
        return CLIENTS
    return BROKEN


# --- how long --------------------------------------------------------------------------------------------

_DURATION = re.compile(
    rb"(?:(\d{1,9}(?:\.\d+)?)h)?(?:(\d{1,9}(?:\.\d+)?)m)?(?:(\d{1,9}(?:\.\d+)?)s)?"
    rb"(?:(\d{1,9}(?:\.\d+)?)ms)?"
)
_NUMBER = re.compile(rb"\d{1,15}(?:\.\d+)?")
_RESET = re.compile(rb"x-ratelimit-reset(?:-(?P<what>[a-z-]+))?")


def asked_rest_ms(headers: Headers, now_s: float) -> int | None:
    """How long an upstream asks to be left alone; None where it does not say, or nothing that makes sense."""
    found = dict(reversed(headers))  # the first of several counts
    if (exact := found.get(b"retry-after-ms")) and _NUMBER.fullmatch(exact):
        return int(float(exact))
    if after := found.get(b"retry-after"):
        wait_ms = _seconds_or_date_ms(after, now_s)
        if wait_ms is not None:
            return wait_ms
    resets = []
    for name, value in headers:
        if reset := _RESET.fullmatch(name):
            what = reset["what"]
            left = found.get(b"x-ratelimit-remaining-" + what if what else b"x-ratelimit-remaining")
            if left is not None and left.strip() == b"0":
                resets.append(_duration_ms(value.strip(), now_s))
    known = [wait_ms for wait_ms in resets if wait_ms is not None]
    return max(known) if known else None


def _seconds_or_date_ms(value: bytes, now_s: float) -> int | None:
    value = value.strip()
    if _NUMBER.fullmatch(value):
        return _number_ms(float(value), now_s)
    try:
        date = parsedate_to_datetime(value.decode("ascii"))
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0, int((date.timestamp() - now_s) * 1000))
    except (ValueError, TypeError, OverflowError):
        return None


def _duration_ms(value: bytes, now_s: float) -> int | None:
    """`6m0s`, `20ms`, `1.5`, Unix time, or a date as in RFC 3339."""
    if _NUMBER.fullmatch(value):
        return _number_ms(float(value), now_s)
    match = _DURATION.fullmatch(value)
    if match and value:
        hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
        return int(((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds)
    try:
        date = datetime.fromisoformat(value.decode("ascii"))
        return max(0, int((date.timestamp() - now_s) * 1000)) if date.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _number_ms(number: float, now_s: float) -> int | None:
    if number <= LONGEST_SECONDS:
        return int(number * 1000)
    if number > LONGEST_SECONDS * 1000:
        number /= 1000  # Unix time in milliseconds
    return max(0, int((number - now_s) * 1000))
