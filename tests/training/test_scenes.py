"""Scenes: what is drawn is what is said, in pixels and in words; held-out combinations stay apart."""

from __future__ import annotations

import random

import numpy as np
import pytest

from training import scenes
from training.image import judge
from training.vision import pictures


def test_held_out_combinations_are_not_trained_on_but_all_their_parts_are() -> None:
    assert set(scenes.HELD_OUT_KINDS).isdisjoint(scenes.TRAINED_KINDS)
    assert len(scenes.HELD_OUT_KINDS) > 30
    for part, names in enumerate((scenes.COLOUR_NAMES, scenes.SHAPE_NAMES, scenes.COLOUR_NAMES)):
        assert {kind[part] for kind in scenes.TRAINED_KINDS} == set(names)
    chance = random.Random(1)
    assert not any(
        scenes.is_held_out(scenes.draw_scene(chance, scenes.TRAINED_KINDS).kind) for _ in range(200)
    )


@pytest.mark.parametrize("shape", scenes.SHAPE_NAMES)
def test_what_is_drawn_can_be_measured(shape: str) -> None:
    chance = random.Random(2)
    for _ in range(15):
        scene = scenes.draw_scene(chance, [kind for kind in scenes.KINDS if kind[1] == shape])
        assert judge.judge(scenes.render(scene, 64, chance)) == scene.kind


def test_an_empty_picture_shows_nothing_but_its_background() -> None:
    assert judge.judge(np.full((64, 64, 3), (0.97, 0.97, 0.97), np.float32)) == ("", "", "white")


def test_a_seed_decides_every_pixel() -> None:
    def drawn(seed: int) -> scenes.Pixels:
        chance = random.Random(seed)
        return pictures.photograph(scenes.draw_scene(chance, scenes.KINDS), 64, chance)[0]

    for seed in range(20):
        assert (drawn(seed) == drawn(seed)).all()
    assert (drawn(1) != drawn(2)).any()


def test_photographs_are_pixels_and_know_where_their_shape_is() -> None:
    chance = random.Random(3)
    for _ in range(60):
        scene = scenes.draw_scene(chance, scenes.KINDS)
        seen, covered = pictures.photograph(scene, 64, chance)
        assert seen.shape == (64, 64, 3)
        assert seen.dtype == np.float32
        assert seen.min() >= 0
        assert seen.max() <= 1
        assert covered.shape == (32, 32)
        share = covered.mean()
        assert 0.01 < share < 0.8


def test_captions_say_it_in_both_languages() -> None:
    scene = scenes.Scene("red", "circle", "blue", 0.3, 0.5, 0.5, 0.0)
    assert scenes.caption(scene, "en") == "a red circle on a blue background"
    assert scenes.caption(scene, "zh") == "蓝色背景上的红色圆形"
    other = scenes.Scene("orange", "star", "orange", 0.4, 0.5, 0.5, 0.0)
    assert scenes.caption(other, "en") == "an orange star on an orange background"
    assert [scenes.size_word(each) for each in (scene, other)] == ["", "large"]
