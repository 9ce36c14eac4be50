"""The estimate stays near what tokenizers say, in prose, Chinese, code and JSON, and is quick on any text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.estimate import SAMPLE_CHARACTERS, estimate_prompt_tokens, estimate_tokens

# Counted with cl100k_base, the vocabulary of the GPT-4 family; from its published examples.
COUNTED = {
    "hello world": 2,
    "Hello, world!": 4,
    "China is great!": 4,
    "tiktoken is great!": 6,
    "Generative AI is great!": 6,
    "Tokenization is surprisingly important!": 6,
    "Large language models predict the next token.": 8,
    "antidisestablishmentarianism": 6,
    "2 + 2 = 4": 7,
    "お誕生日おめでとう": 9,
}

ENGLISH = (
    "A headgate stands at the top of a channel and decides how much water flows, where, and for whom. "
    "When the river is high it holds back what the fields cannot drink; in a dry summer it shares out the "
    "little there is. Nobody notices it while it works, and everybody does on the day it fails."
)
CHINESE = (
    "闸门立在水渠的源头，决定放多少水、流向哪里、给谁用。"
    "河水上涨时，它拦住田地喝不下的水；干旱的夏天，它把仅有的水分给大家。"
)
RUSSIAN = "Затвор стоит в начале канала и решает, сколько воды пойдёт дальше, куда и кому именно."
CODE = """
def estimate(text: str) -> int:
    total = 0
    for match in PIECES.finditer(text):
        length = match.end() - match.start()
        if match.lastgroup == "word" and length > 0:
            total += -(-length // 6)
    return total
"""
JSON = json.dumps([{"city": "Paris", "days": 5, "units": "celsius", "hourly": [12.5, 13.0, 14.25]}] * 3)


@pytest.mark.parametrize(("text", "tokens"), COUNTED.items())
def test_counted_texts(text: str, tokens: int) -> None:
    assert abs(estimate_tokens(text) - tokens) <= 2


@pytest.mark.parametrize(
    ("text", "fewest", "most"),
    [
        (ENGLISH, 3.5, 5.0),  # OpenAI's rule of thumb is four characters a token
        (CODE, 2.5, 4.5),
        (JSON, 2.0, 4.0),
        (CHINESE, 0.8, 1.5),
        (RUSSIAN, 1.5, 3.0),
    ],
)
def test_characters_per_token_of_each_kind_of_text(text: str, fewest: float, most: float) -> None:
    assert fewest <= len(text) / estimate_tokens(text) <= most


@given(st.text())
def test_any_text_has_tokens_but_not_more_than_characters(text: str) -> None:
    assert 0 <= estimate_tokens(text) <= len(text)
    assert bool(estimate_tokens(text)) == bool(text.strip())


@given(st.text(), st.text())
def test_more_text_is_not_fewer_tokens(one: str, other: str) -> None:
    together = estimate_tokens(one + other)
    assert together <= estimate_tokens(one) + estimate_tokens(other)
    assert together >= max(estimate_tokens(one), estimate_tokens(other)) - 1


def test_a_long_text_is_estimated_by_its_beginning() -> None:
    times = 3 * SAMPLE_CHARACTERS // len(ENGLISH)
    assert estimate_tokens(ENGLISH * times) == pytest.approx(estimate_tokens(ENGLISH) * times, rel=0.01)


def test_a_prompt_is_estimated_by_its_size() -> None:
    assert [estimate_prompt_tokens(size) for size in (0, 1, 4, 5, 4000)] == [0, 1, 1, 2, 1000]
