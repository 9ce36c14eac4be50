"""What was said so far, read off raw events; and what nobody else can go on with."""

from __future__ import annotations

import json

import pytest

from headgate.core.estimate import estimate_tokens
from headgate.core.transcript import KEPT_BYTES, TEXT_CHARACTERS, Beginning, Opening, Transcript


def chunk(index: int = 0, finish: str | None = None, **delta: object) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    told = {"id": "chatcmpl-1", "created": 7, "model": "m", "choices": [choice], "usage": None}
    return b"data: " + json.dumps(told).encode() + b"\n\n"


def heard(*blocks: bytes) -> Beginning | None:
    transcript = Transcript()
    for block in blocks:
        transcript.feed(block)
    return transcript.beginning()


def test_words_and_heading_are_gathered() -> None:
    beginning = heard(
        b": waiting\n\n", chunk(role="assistant", content=""), chunk(content="Hel") + chunk(content="lo")
    )
    assert beginning is not None
    assert beginning.text == "Hello"
    assert beginning.text_tokens == 2 > estimate_tokens("Hello"), "two pieces are two tokens at least"
    assert not beginning.is_empty
    assert bytes(beginning.heading.id) == b'"chatcmpl-1"'


def test_pieces_are_tokens_unless_there_are_far_too_few() -> None:
    words = ["one", " two", " three", " four", " five", " six"]
    fine = heard(*(chunk(content=word) for word in words))
    coarse = heard(chunk(content="".join(words)))
    letters = heard(*(chunk(content=letter) for letter in "".join(words)))
    assert fine is not None
    assert coarse is not None
    assert letters is not None
    assert fine.text_tokens == 6
    assert coarse.text_tokens == estimate_tokens("".join(words))
    assert letters.text_tokens == len("".join(words))


def test_a_role_alone_says_nothing() -> None:
    beginning = heard(chunk(role="assistant", content="", refusal=None, tool_calls=[]))
    assert beginning is not None
    assert beginning.is_empty


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_counted_and_not_gone_on_with(name: str) -> None:
    beginning = heard(chunk(role="assistant"), chunk(0, None, **{name: "Let me think."}))
    assert beginning is not None
    assert (beginning.text, beginning.reasoning_tokens) == ("", estimate_tokens("Let me think."))
    assert not beginning.is_empty


@pytest.mark.parametrize(
    "block",
    [
        chunk(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]),
        chunk(function_call={"name": "f"}),
        chunk(refusal="I can't"),
        chunk(audio={"id": "a"}),
        chunk(images=[{"url": "u"}]),
        chunk(content=[{"type": "text"}]),
        chunk(1, content="another choice"),
        chunk(finish="stop"),
        b'data: {"choices":[{"index":0,"text":"legacy"}]}\n\n',
        b'data: {"type":"speech.audio.delta","audio":"AAAA"}\n\n',
        b"data: [1]\n\n",
        b"data: {\n\n",
    ],
)
def test_with_some_things_nobody_else_can_go_on(block: bytes) -> None:
    assert heard(chunk(content="Hello")) is not None
    assert heard(chunk(content="Hello"), block, chunk(content="more")) is None


def test_a_long_answer_is_read_in_batches_and_a_longer_one_let_go() -> None:
    transcript, word = Transcript(), "word " * 1000
    for _ in range(20):
        transcript.feed(chunk(content=word))
        assert transcript._kept_bytes <= KEPT_BYTES
    beginning = transcript.beginning()
    assert beginning is not None
    assert beginning.text == word * 20
    for _ in range(TEXT_CHARACTERS // len(word)):
        transcript.feed(chunk(content=word))
    assert transcript.beginning() is None
    assert transcript._pieces == []


def test_an_opening_ends_with_its_first_block() -> None:
    opening = Opening()
    empty = opening.beginning()
    assert empty is not None
    assert not empty.opened
    assert opening.feed(chunk(role="assistant", content=""))
    begun = opening.beginning()
    assert begun is not None
    assert (begun.opened, begun.is_empty, bytes(begun.heading.id)) == (True, True, b'"chatcmpl-1"')
    assert not opening.feed(chunk(content="Hello"))
    assert opening.beginning() is None


def test_an_opening_that_says_something_is_none() -> None:
    opening = Opening()
    opening.feed(chunk(role="assistant", content="Hello"))
    assert opening.beginning() is None
