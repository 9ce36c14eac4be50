"""Prompts for pictures: a wish is laid out in ones and zeros, said in words, and cut into bytes."""

from __future__ import annotations

import random

import pytest

from training import scenes
from training.chat import phrases
from training.image import prompts, sample
from training.image.prompts import Wish


def test_a_wish_is_one_value_of_each_attribute() -> None:
    row = prompts.numbers(Wish("red", "circle", None, "large"))
    assert len(row) == sum(prompts.WIDTHS) == 32
    at = 0
    chosen = []
    for width in prompts.WIDTHS:
        part = row[at : at + width]
        assert sorted(part) == [0.0] * (width - 1) + [1.0]
        chosen.append(part.index(1.0))
        at += width
    # The first colour, the first shape, "not said", the second size.
    assert chosen == [0, 0, len(scenes.COLOURS), 1]


@pytest.mark.parametrize("language", phrases.LANGUAGES)
def test_a_whole_wish_is_said_wholly(language: str) -> None:
    chance = random.Random(1)
    for _ in range(200):
        wish = Wish(*chance.choice(scenes.KINDS))
        said = prompts.prompt(chance, wish, language).lower()
        assert "{" not in said
        for table, value in (("colours", wish.colour), ("shapes", wish.shape), ("colours", wish.background)):
            assert any(word in said for word in prompts.WORDS[table][language][value])


def test_what_is_not_wished_is_not_said() -> None:
    chance = random.Random(2)
    words = [word for each in prompts.WORDS["colours"]["en"].values() for word in each]
    for _ in range(200):
        said = prompts.prompt(chance, Wish(shape="star"), "en").lower().split()
        assert "star" in said or "star." in " ".join(said) or any("star" in word for word in said)
        assert not set(said) & set(words)


def test_drawn_wishes_leave_parts_open_and_keep_to_their_combinations() -> None:
    chance = random.Random(3)
    drawn = [prompts.draw_wish(chance, scenes.HELD_OUT_KINDS) for _ in range(300)]
    whole = [w for w in drawn if w.colour and w.shape and w.background]
    assert 100 < len(whole) < 290
    assert all((w.colour, w.shape, w.background) in scenes.HELD_OUT_KINDS for w in whole)


def test_prompts_are_bytes_cut_or_filled() -> None:
    rows = sample.prompt_bytes(["", "é", "x" * 300])
    assert rows.shape == (3, 128)
    assert not rows[0].any()
    assert rows[1, :3].tolist() == [0xC3, 0xA9, 0]
    assert (rows[2] == ord("x")).all()
