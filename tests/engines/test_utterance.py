"""Texts are cut where they can be, lose nothing, and tell their language by their script."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engines.utterance import FIRST_CHARACTERS, MOST_CHARACTERS, language_of, utterances


def pieces(text: str) -> list[str]:
    return [piece.text for piece in utterances(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("It costs 3.50 at example.com today.", ["It costs 3.50 at example.com today."]),
        ('He said "No." Then he left.', ['He said "No."', "Then he left."]),
        ("你好。今天天气很好！走吧", ["你好。", "今天天气很好！", "走吧"]),
        ("A line\nanother", ["A line", "another"]),
        ("   ", []),
        ("...", ["..."]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert pieces(text) == expected


def test_the_first_piece_of_a_long_sentence_is_short() -> None:
    clause = "and so it goes on for some time, "
    first, *rest = pieces(clause * 12)
    assert len(first) <= FIRST_CHARACTERS
    assert all(len(piece) <= MOST_CHARACTERS for piece in rest)


@given(st.text(alphabet=st.sampled_from("ab .,!?\n。，你好\t"), max_size=2000))
def test_nothing_is_lost_and_nothing_is_long(text: str) -> None:
    found = pieces(text)
    assert re.sub(r"\s", "", "".join(found)) == re.sub(r"\s", "", text)
    assert all(0 < len(piece) <= MOST_CHARACTERS for piece in found)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hello there", "en"), ("你好世界", "zh"), ("今日はいい天気です", "ja"), ("안녕하세요", "ko"),
        ("Привет, мир", "ru"), ("Γειά σου", "el"), ("مرحبا", "ar"), ("नमस्ते", "hi"), ("שלום", "he"),
        ("用 Python 写的程序", "zh"), ("The word for it is 好, they say", "en"), ("123", "en"),
    ],
)  # fmt: skip
def test_the_script_tells_the_language(text: str, language: str) -> None:
    assert language_of(text) == language
