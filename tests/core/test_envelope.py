"""Errors as clients of other formats read them."""

from __future__ import annotations

import json

import pytest

from headgate.core.envelope import MESSAGE_TYPES, messages_error, responses_event
from headgate.core.errors import ApiError, InvalidField, ModelNotFound, Overloaded, RateLimited, Unauthorized


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidField("bad", param="x"), "invalid_request_error"),
        (Unauthorized("who"), "authentication_error"),
        (ModelNotFound("gone"), "not_found_error"),
        (RateLimited("slow"), "rate_limit_error"),
        (Overloaded("busy"), "overloaded_error"),
        (ApiError("odd"), "api_error"),
    ],
)
def test_an_error_of_messages(error: ApiError, kind: str) -> None:
    assert json.loads(messages_error(error)) == {
        "type": "error",
        "error": {"type": kind, "message": error.message},
    }
    assert set(MESSAGE_TYPES.values()) | {"api_error"} >= {kind}


def test_an_error_in_a_stream_of_responses() -> None:
    told = json.loads(responses_event(InvalidField("bad", param="x", code="c")))
    assert told == {"type": "error", "code": "c", "message": "bad", "param": "x"}


def test_an_error_is_told_in_the_shape_that_it_was_given() -> None:
    error = ApiError("odd")
    plain = error.body()
    assert error.event() == b"data: " + plain + b"\n\n"
    error.as_event = messages_error
    assert error.body() == plain
    assert error.event() == b"event: error\ndata: " + messages_error(error) + b"\n\n"
    error.as_body = messages_error
    assert error.body() == messages_error(error)
