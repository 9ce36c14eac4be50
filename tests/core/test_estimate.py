"""The estimate stays near what tokenizers say, in prose, Chinese, code and JSON, and is quick on any text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.estimate import SAMPLE_BYTES, estimate_prompt_tokens, estimate_tokens

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


SAMPLES = Path(__file__).parent / "samples"
TRUE_COUNTS: dict[str, int] = json.loads((SAMPLES / "counts.json").read_text())
"""Made by samples/count.mjs with o200k_base."""


def sample(name: str) -> str:
    return (SAMPLES / name).read_text("utf-8")


def test_every_sample_was_counted() -> None:
    assert {path.name for path in SAMPLES.glob("*.txt")} == set(TRUE_COUNTS)
    assert {name.split("-")[0] for name in TRUE_COUNTS} == {"english", "chinese", "code", "json"}


@pytest.mark.parametrize(("name", "tokens"), TRUE_COUNTS.items())
def test_samples_are_within_a_tenth_of_the_true_count(name: str, tokens: int) -> None:
    assert estimate_tokens(sample(name)) == pytest.approx(tokens, rel=0.1)


@pytest.mark.parametrize(("name", "tokens"), TRUE_COUNTS.items())
def test_a_long_text_is_within_a_tenth_too(name: str, tokens: int) -> None:
    times = 1 + 20 * SAMPLE_BYTES // len(sample(name))
    assert estimate_tokens(sample(name) * times) == pytest.approx(tokens * times, rel=0.1)


def test_a_long_text_is_looked_at_from_beginning_to_end() -> None:
    halves = [sample("english-1.txt") * 40, sample("chinese-1.txt") * 40]
    expected = sum(map(estimate_tokens, halves))
    assert estimate_tokens(halves[0] + halves[1]) == pytest.approx(expected, rel=0.15)
    assert estimate_tokens(halves[1] + halves[0]) == pytest.approx(expected, rel=0.15)


@given(st.text())
def test_any_text_has_tokens_but_not_more_than_characters(text: str) -> None:
    assert 0 <= estimate_tokens(text) <= len(text)
    assert bool(estimate_tokens(text)) == bool(text)


PLAIN = st.text(st.characters(max_codepoint=0x7E) | st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF))


@given(PLAIN, PLAIN)
def test_more_text_is_not_fewer_tokens(one: str, other: str) -> None:
    together = estimate_tokens(one + other)
    assert together <= estimate_tokens(one) + estimate_tokens(other) + 2
    assert together >= max(estimate_tokens(one), estimate_tokens(other)) - 3


def test_half_of_a_pair_of_surrogates_is_counted_too() -> None:
    assert estimate_tokens("\ud800") == 1


def test_a_prompt_is_estimated_by_its_size() -> None:
    assert [estimate_prompt_tokens(size) for size in (0, 1, 4, 5, 4000)] == [0, 1, 1, 2, 1000]
