"""Departures from OpenAI's format: each quirk does what it says, and touches nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headgate.core.quirks import Quirks
from headgate.dialects.openai import OpenAI
from headgate.dialects.quirks import DepartingOpenAI
from tests.dialects.calls import chat_call


def sent(body: dict[str, Any], **quirks: Any) -> dict[str, Any]:
    outgoing = DepartingOpenAI(Quirks(**quirks)).request(chat_call(body, "there"))
    assert outgoing.path == "/chat/completions"
    assert outgoing.translator is None
    return msgspec.json.decode(outgoing.body, type=dict[str, Any])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"max_tokens": 5, "seed": 3, "x": [1]},
    ],
)
def test_what_no_quirk_names_is_said_as_the_plain_dialect_says_it(body: dict[str, Any]) -> None:
    call = chat_call(body, "there")
    departing = DepartingOpenAI(Quirks(developer_role="system"))
    assert departing.request(call).body == OpenAI().request(call).body


@pytest.mark.parametrize(
    ("known", "body", "kept"),
    [
        ("max_tokens", {"max_completion_tokens": 5}, 5),
        ("max_tokens", {"max_tokens": 7}, 7),
        ("max_tokens", {"max_tokens": None, "max_completion_tokens": 5}, 5),
        ("max_completion_tokens", {"max_tokens": 7}, 7),
        ("max_completion_tokens", {"max_tokens": 7, "max_completion_tokens": None}, 7),
    ],
)
def test_the_limit_goes_by_the_name_that_is_known(known: str, body: dict[str, Any], kept: int) -> None:
    made = sent(body, max_tokens_field=known)
    limits = {name: made[name] for name in ("max_tokens", "max_completion_tokens") if name in made}
    assert limits == {known: kept}


def test_no_limit_stays_none() -> None:
    assert sent({}, max_tokens_field="max_tokens").keys() == {"model", "messages"}


@pytest.mark.parametrize(
    ("body", "seeds"),
    [
        ({"seed": 7}, {"random_seed": 7}),
        ({"seen": 7}, {"random_seed": 7}),
        ({"seed": 7, "random_seed": 9}, {"random_seed": 9}),
        ({}, {}),
    ],
)
def test_the_seed_has_another_name(body: dict[str, Any], seeds: dict[str, int]) -> None:
    made = sent(body, seed_field="random_seed")
    assert {name: made[name] for name in ("seed", "seen", "random_seed") if name in made} == seeds


@pytest.mark.parametrize("options", [None, {"include_usage": True}, {"include_usage": False}])
def test_stream_options_are_not_sent_where_they_are_refused(options: object) -> None:
    body = {"stream": True} if options is None else {"stream": True, "stream_options": options}
    assert "stream_options" not in sent(body, no_stream_options=True)
    assert sent(body, seed_field="random_seed")["stream_options"]["include_usage"] is True


def test_developers_speak_as_the_system() -> None:
    messages = (
        b'[ {"role": "developer", "content" : "\\u4f60 \\"developer\\"", "x": 1.50},'
        b' {"role":"user","content":"developer"}, {"role":"system","content":[]}]'
    )
    call = chat_call(b'{"model":"a","messages":' + messages + b"}")
    body = DepartingOpenAI(Quirks(developer_role="system")).request(call).body
    assert b'{"role":"system","content":"\\u4f60 \\"developer\\"","x":1.50}' in body
    assert b'{"role":"user","content":"developer"},{"role":"system","content":[]}' in body
    plain = chat_call({"messages": [{"role": "user", "content": "hi"}]})
    assert (
        DepartingOpenAI(Quirks(developer_role="system")).request(plain).body == OpenAI().request(plain).body
    )
