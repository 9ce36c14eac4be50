"""The models written by hand say what they were told to."""

from __future__ import annotations

import string
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.engines.running import running_engine
from tests.models.bigram import split, write_bigram

TEXT = st.text(alphabet=string.ascii_letters + " \n.你好", min_size=1, max_size=200)


@given(TEXT)
def test_pieces_make_the_text_and_no_two_are_equal(text: str) -> None:
    (pieces,) = split([text])
    assert "".join(pieces) == text
    assert len(set(pieces)) == len(pieces)


def test_says_its_text_and_stops(tmp_path: Path) -> None:
    model = write_bigram(tmp_path / "m.gguf", "Grüße from a bigram, 你好.")
    assert model.stat().st_size < 2_000_000
    with running_engine(model) as engine:
        status, reply = engine.chat(temperature=2)
    assert status == 200
    assert reply["choices"][0]["message"]["content"] == "Grüße from a bigram, 你好."
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["usage"]["completion_tokens"] == len(split(["Grüße from a bigram, 你好."])[0]) + 1


def test_says_each_of_several_texts(tmp_path: Path) -> None:
    texts = ["Alpha is one.", "Bravo is two.", "Charlie is three.", "Delta is four."]
    with running_engine(write_bigram(tmp_path / "m.gguf", texts)) as engine:
        said = {
            engine.chat(seed=seed)[1]["choices"][0]["message"]["content"]
            for seed in range(0, 4_000_000, 80_000)
        }
    assert said == set(texts)


def test_endless_goes_on_until_it_is_cut_off(tmp_path: Path) -> None:
    model = write_bigram(tmp_path / "m.gguf", "all work and no play\n", endless=True)
    with running_engine(model) as engine:
        _, reply = engine.chat(max_tokens=100)
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["choices"][0]["message"]["content"].startswith(
        "all work and no play\nall work and no play\n"
    )


def test_obeys_a_schema(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    with running_engine(write_bigram(tmp_path / "m.gguf")) as engine:
        _, reply = engine.chat(
            response_format={"type": "json_schema", "json_schema": {"schema": schema}}, temperature=0
        )
    assert reply["choices"][0]["message"]["content"] == '{"a":1}'
