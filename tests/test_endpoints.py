"""The table's rows fit together: names and routes are unique, and what has a body has a type and a limit."""

from __future__ import annotations

import pytest

from headgate.core.body import open_body
from headgate.core.chat import ChatRequest
from headgate.core.endpoint import Endpoint
from headgate.endpoints import CHAT_BODY_LIMIT_BYTES, CHAT_COMPLETIONS, ENDPOINTS

EACH_ROW = pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.name)


def test_the_rows_are_those_of_the_reference() -> None:
    assert [(row.method, row.path) for row in ENDPOINTS] == [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/audio/speech"),
        ("POST", "/v1/audio/transcriptions"),
        ("POST", "/v1/audio/translations"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/moderations"),
        ("POST", "/v1/rerank"),
        ("POST", "/v1/images/generations"),
        ("POST", "/v1/images/edits"),
        ("POST", "/v1/images/variations"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/{id}"),
    ]


def test_no_two_rows_share_a_name_or_a_route() -> None:
    assert len({row.name for row in ENDPOINTS}) == len(ENDPOINTS)
    assert len({(row.method, row.path) for row in ENDPOINTS}) == len(ENDPOINTS)


@EACH_ROW
def test_a_row_says_all_that_is_derived_from_it(row: Endpoint) -> None:
    assert row.path.startswith("/v1/")
    assert row.scope
    assert row.summary.endswith(".")
    has_body = row.method == "POST"
    assert (row.request is not None) == has_body
    assert (row.body_limit_bytes > 0) == has_body
    assert (row.capability is not None) == has_body


@EACH_ROW
def test_only_the_last_part_of_a_path_is_open(row: Endpoint) -> None:
    assert "{" not in row.path.removesuffix("{id}")


def test_a_request_type_can_be_opened() -> None:
    assert CHAT_COMPLETIONS.request is ChatRequest
    body = b'{"model": "m", "messages": [{"role": "user", "content": "Hello!"}]}'
    request, _ = open_body(body, CHAT_COMPLETIONS.request)
    assert isinstance(request, ChatRequest)


def test_a_chat_holds_as_many_pictures_as_openai_takes() -> None:
    pictures_bytes = 50_000_000
    assert -(-pictures_bytes // 3) * 4 < CHAT_BODY_LIMIT_BYTES
