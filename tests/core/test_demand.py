"""What is reserved for a request: enough for what it can come to, read from the fields that it has."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from headgate.core.body import open_body
from headgate.core.chat import ChatRequest
from headgate.core.demand import demand
from headgate.core.estimate import estimate_tokens
from headgate.core.picture_tokens import LOW_TOKENS, UNSEEN_TOKENS
from headgate.core.price import Demand
from tests.core.test_estimate import TRUE_COUNTS, sample


def of_chat(content: Any = "Hi", **fields: Any) -> Demand:
    body = {"model": "m", "messages": [{"role": "user", "content": content}]} | fields
    return demand(*open_body(json.dumps(body).encode(), ChatRequest), 500)


class Drawing(msgspec.Struct):
    """A request for pictures."""

    prompt: str
    n: int | None = None
    size: str | None = None
    quality: str | None = None


class Vectors(msgspec.Struct):
    """A request for embeddings."""

    input: Any


def test_a_prompt_is_reserved_with_a_margin() -> None:
    for name, tokens in TRUE_COUNTS.items():
        wanted = of_chat(sample(name))
        assert tokens <= wanted.input_tokens <= 1.25 * tokens + 10, name


def test_the_longest_answer_is_what_the_request_says() -> None:
    assert of_chat().output_tokens == 500
    assert of_chat(max_tokens=7).output_tokens == 7
    assert of_chat(max_completion_tokens=9).output_tokens == 9
    assert of_chat(max_tokens=7, n=3).output_tokens == 21


def test_tools_and_earlier_calls_are_part_of_the_prompt() -> None:
    plain = of_chat().input_tokens
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
    assert of_chat(tools=[tool] * 20).input_tokens > plain + 20 * 15
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"a": 1}' * 50}}
    messages = [{"role": "assistant", "tool_calls": [call]}]
    assert of_chat(messages=messages).input_tokens > plain + 200


def test_pictures_count_by_their_size_and_never_by_their_bytes() -> None:
    def of(url: str, detail: str = "auto") -> Demand:
        return of_chat([{"type": "image_url", "image_url": {"url": url, "detail": detail}}])

    far = of("https://example.com/a.png")
    assert UNSEEN_TOKENS < far.input_tokens < 1.2 * UNSEEN_TOKENS
    assert of("data:image/png;base64," + "A" * 100_000).input_tokens == far.input_tokens
    assert of("https://example.com/a.png", "low").input_tokens < LOW_TOKENS * 1.3
    assert far.media
    assert not of_chat().media


def test_sounds_and_documents_count_by_their_length() -> None:
    sound = [{"type": "input_audio", "input_audio": {"data": "A" * 200_000, "format": "mp3"}}]
    assert 100 <= of_chat(sound).input_tokens < 150
    file = [{"type": "file", "file": {"file_data": "A" * 40_000}}]
    assert 1000 <= of_chat(file).input_tokens < 1200


def test_texts_and_token_ids_are_counted_in_lists_too() -> None:
    text = sample("english-1.txt")
    one = demand(Vectors(text), {}, 500)
    assert one.output_tokens == 0
    assert demand(Vectors([text, text]), {}, 500).input_tokens > 1.9 * one.input_tokens
    assert demand(Vectors([5] * 100), {}, 500).input_tokens == 111
    assert demand(Vectors([[5] * 50, [6] * 50]), {}, 500).input_tokens == 111
    assert one.characters == len(text)
    assert one.input_tokens >= estimate_tokens(text)


def test_pictures_are_asked_for_by_number_size_and_quality() -> None:
    wanted = demand(Drawing("a fox", 3, "1024x1024", "hd"), {}, 500)
    assert (wanted.images, wanted.size, wanted.quality, wanted.output_tokens) == (3, "1024x1024", "hd", 0)
    assert demand(Drawing("a fox"), {}, 500).images == 1
