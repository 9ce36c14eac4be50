"""Every error has OpenAI's shape, its place in the contract's table, and headers that clients obey."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from headgate.core import errors
from headgate.core.errors import ApiError, QueueFull, RateLimited, UpstreamRefused


def family(root: type[ApiError]) -> Iterator[type[ApiError]]:
    yield root
    for child in root.__subclasses__():
        yield from family(child)


# Of this module only: others add relatives of their own, and test them.
CLASSES = [one for one in dict.fromkeys(family(ApiError)) if one.__module__ == errors.__name__]

# reference.md, "Errors": status, type, code.
TABLE: dict[str, tuple[int, str, str | None]] = {
    "ApiError": (500, "api_error", None),
    "BadRequest": (400, "invalid_request_error", None),
    "InvalidField": (400, "invalid_request_error", None),
    "Unauthorized": (401, "invalid_request_error", "invalid_api_key"),
    "Forbidden": (403, "permission_error", None),
    "ModelForbidden": (403, "invalid_request_error", "model_not_found"),
    "NotFound": (404, "invalid_request_error", None),
    "ModelNotFound": (404, "invalid_request_error", "model_not_found"),
    "MethodNotAllowed": (405, "invalid_request_error", None),
    "RequestTimeout": (408, "invalid_request_error", None),
    "TooLarge": (413, "invalid_request_error", None),
    "RateLimited": (429, "requests", "rate_limit_exceeded"),
    "QueueFull": (429, "requests", "rate_limit_exceeded"),
    "TokensLimited": (429, "tokens", "rate_limit_exceeded"),
    "TooManyTokens": (429, "tokens", "rate_limit_exceeded"),
    "InsufficientQuota": (429, "insufficient_quota", "insufficient_quota"),
    "Overloaded": (503, "api_error", None),
    "UpstreamFailed": (502, "api_error", "upstream_error"),
    "UpstreamUnavailable": (503, "api_error", "upstream_unavailable"),
    "UpstreamTimedOut": (504, "api_error", "upstream_timeout"),
    "UpstreamRefused": (418, "its_own_type", None),
    "InternalError": (500, "server_error", None),
}


def made(kind: type[ApiError], message: str = "It did not work.") -> ApiError:
    if issubclass(kind, UpstreamRefused):
        return kind(message, status=418, error_type="its_own_type")
    return kind(message)


def test_the_table_names_every_class() -> None:
    assert {kind.__name__ for kind in CLASSES} == set(TABLE)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_shows_all_four_keys(kind: type[ApiError]) -> None:
    status, error_type, code = TABLE[kind.__name__]
    error = made(kind)
    assert error.status == status
    expected = {"message": "It did not work.", "type": error_type, "param": None, "code": code}
    assert json.loads(error.body()) == {"error": expected}
    assert str(error) == "It did not work."


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_is_one_event_of_one_line(kind: type[ApiError]) -> None:
    error = made(kind, 'Two\nlines, "quoted", and \u2028 more.')
    event = error.event()
    assert event == b"data: " + error.body() + b"\n\n"
    assert event.count(b"\n") == 2
    assert b"\r" not in event


@pytest.mark.parametrize("kind", CLASSES)
def test_clients_are_told_not_to_repeat_what_is_in_vain(kind: type[ApiError]) -> None:
    headers = dict(made(kind).headers())
    in_vain = (errors.UpstreamFailed, errors.TooManyTokens, errors.InsufficientQuota)
    assert headers.get(b"x-should-retry") == (b"false" if issubclass(kind, in_vain) else None)
    assert b"retry-after" not in headers


def test_param_and_code_are_told() -> None:
    error = errors.InvalidField("Wrong.", param="messages[1].content", code="invalid_type")
    assert json.loads(error.body())["error"] == {
        "message": "Wrong.",
        "type": "invalid_request_error",
        "param": "messages[1].content",
        "code": "invalid_type",
    }
    assert errors.InvalidField.code is None, "the code of one error is not the code of all"


@pytest.mark.parametrize(
    ("wait_ms", "seconds"), [(0, b"0"), (1, b"1"), (999, b"1"), (1000, b"1"), (1001, b"2"), (60_000, b"60")]
)
@pytest.mark.parametrize("kind", [RateLimited, QueueFull, errors.Overloaded, errors.UpstreamUnavailable])
def test_when_to_come_back_is_never_told_too_early(
    kind: type[ApiError], wait_ms: int, seconds: bytes
) -> None:
    headers = dict(kind("Later.", retry_after_ms=wait_ms).headers())
    assert headers[b"retry-after"] == seconds
    assert headers[b"retry-after-ms"] == b"%d" % wait_ms


def test_an_upstreams_refusal_keeps_its_words() -> None:
    error = UpstreamRefused(
        "Slow down.",
        status=429,
        error_type="tokens",
        param="p",
        code="rate_limit_exceeded",
        retry_after_ms=1500,
    )
    assert error.status == 429
    assert json.loads(error.body())["error"] == {
        "message": "Slow down.",
        "type": "tokens",
        "param": "p",
        "code": "rate_limit_exceeded",
    }
    assert dict(error.headers()) == {b"retry-after": b"2", b"retry-after-ms": b"1500"}


def test_only_errors_for_clients_have_a_status() -> None:
    for kind in (errors.SettingsError, errors.StoreFull, errors.ConnectFailed, errors.UpstreamGarbage):
        assert not issubclass(kind, ApiError)
        assert issubclass(kind, errors.HeadgateError)
    lost = errors.ConnectionLost("cut", reused=True, answered=False)
    assert (str(lost), lost.reused, lost.answered) == ("cut", True, False)
    assert errors.UpstreamTimeout("idle").phase == "idle"
