"""OpenAI's own dialect: bytes pass, but for the model's name and the usage that is asked for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headgate.core.errors import UpstreamRefused
from headgate.dialects.openai import OpenAI
from tests.dialects.calls import chat_call


def sent(body: dict[str, Any] | bytes) -> dict[str, Any]:
    outgoing = OpenAI().request(chat_call(body))
    assert outgoing.path == "/chat/completions"
    assert outgoing.translator is None
    return msgspec.json.decode(outgoing.body, type=dict[str, Any])


def test_only_the_model_changes() -> None:
    body = (
        b'{"model":"asked-for","messages":[{"role":"user","content":"hi"}],'
        b'"x_unknown":{"a":[1.50,1e3]}, "top_p":0.10}'
    )
    outgoing = OpenAI().request(chat_call(body, "there/real-name"))
    assert b'"model":"there/real-name"' in outgoing.body
    # Unknown fields and numbers as they were written.
    assert b'"x_unknown":{"a":[1.50,1e3]}' in outgoing.body
    assert b'"top_p":0.10' in outgoing.body


def test_a_stream_is_asked_for_its_usage() -> None:
    assert sent({"stream": True})["stream_options"] == {"include_usage": True}
    assert sent({"stream": True, "stream_options": {"include_usage": False, "x": 1}})["stream_options"] == {
        "include_usage": True,
        "x": 1,
    }
    assert sent({"stream": True, "stream_options": {"include_usage": True, "x": 1}})["stream_options"] == {
        "include_usage": True,
        "x": 1,
    }
    assert "stream_options" not in sent({})


def test_the_page_s_own_spelling_of_seed() -> None:
    body = sent({"seen": 7})
    assert body["seed"] == 7
    assert "seen" not in body


def test_errors_are_read_as_refusals() -> None:
    error = OpenAI().error(
        400, [], b'{"error":{"message":"No.","type":"invalid_request_error","param":"top_p","code":"x"}}'
    )
    assert isinstance(error, UpstreamRefused)
    assert (error.status, error.message, error.param, error.code) == (400, "No.", "top_p", "x")


@pytest.mark.parametrize("stream", [False, True])
def test_a_body_is_spliced_and_never_re_encoded(stream: bool) -> None:
    messages = b'[ {"role" : "user", "content" : "\\u4f60\\u597d", "weight": 1.0 } ]'
    body = b'{"messages":' + messages + b',"model":"a","stream":' + (b"true" if stream else b"false") + b"}"
    assert messages in OpenAI().request(chat_call(body)).body
