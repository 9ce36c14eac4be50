"""What a request needs, read off it; and what stays the same while a conversation grows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.core.body import open_body
from headgate.core.chat import ChatRequest
from headgate.core.settings_routing import Routing
from headgate.gateway.choose import Facts
from headgate.gateway.gauge import BYTES_PER_TOKEN_AT_MOST, gauge

HELLO = {"role": "user", "content": "Hello"}
PICTURE: dict[str, Any] = {
    "role": "user",
    "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}],
}
TOOL = {"type": "function", "function": {"name": "f"}}


def facts(*messages: dict[str, Any], key: str = "k", sticky: Any = "off", **more: Any) -> Facts:
    body = json.dumps({"model": "m", "messages": messages or [HELLO], **more}).encode()
    request, fields = open_body(body, ChatRequest)
    return gauge(request, fields, len(body), key, Routing(sticky=sticky))


@pytest.mark.parametrize(
    ("asked", "needs"),
    [
        ({}, set()),
        ({"tools": [TOOL]}, {"tools"}),
        ({"tools": []}, set()),
        ({"functions": [{"name": "f"}]}, {"tools"}),
        ({"response_format": {"type": "json_object"}}, set()),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "s"}}}, {"json_schema"}),
        ({"modalities": ["text"]}, set()),
        ({"modalities": ["image", "text"]}, {"draws"}),
    ],
)
def test_needs(asked: dict[str, Any], needs: set[str]) -> None:
    found = facts(**asked)
    assert {name for name in ("vision", "tools", "json_schema", "draws") if getattr(found, name)} == needs
    assert not found.conversation


def test_length_is_no_more_than_it_can_be() -> None:
    assert facts({"role": "user", "content": "a" * 60_000}).tokens >= 60_000 // BYTES_PER_TOKEN_AT_MOST
    assert facts(max_tokens=500).tokens > 500
    assert facts(max_completion_tokens=700).tokens > 700


def test_a_pictures_bytes_are_no_tokens() -> None:
    found = facts(PICTURE, {"role": "user", "content": "x" * 10_000}, max_tokens=7)
    assert found.vision
    assert found.tokens == 7


def test_a_conversation_is_known_by_its_beginning() -> None:
    system = {"role": "system", "content": "You are kind."}
    answer = {"role": "assistant", "content": "Hi!"}

    def conversation(*messages: dict[str, Any], **more: Any) -> bytes:
        return facts(*messages, sticky="conversation", **more).conversation

    first = conversation(system, HELLO)
    assert first
    assert conversation(system, HELLO, answer, {"role": "user", "content": "And you?"}) == first
    assert conversation(system, {"role": "user", "content": "Bye"}) != first
    assert conversation({"role": "system", "content": "You are not."}, HELLO) != first
    assert conversation(system, HELLO, key="another") != first
    assert conversation(system) != first

    parts = {"role": "user", "content": [{"type": "text", "text": "Look"}, PICTURE["content"][0]]}
    assert conversation(parts) == conversation(parts, answer)
    assert conversation(parts) != conversation(PICTURE)

    named = conversation(HELLO, prompt_cache_key="c1")
    assert conversation(system, answer, prompt_cache_key="c1") == named
    assert conversation(HELLO, prompt_cache_key="c2") != named
