"""Questions about pictures: every mark has its picture, every answer is true, and the wire carries both."""

from __future__ import annotations

import base64
import io
import random

import numpy as np
import pytest
from PIL import Image

from training import scenes
from training.scenes import Scene
from training.vision import questions, score

SCENE = Scene("red", "circle", "blue", 0.3, 0.5, 0.5, 0.0)


def test_every_mark_has_its_picture_and_turns_alternate() -> None:
    chance, pictures = random.Random(1), set()
    for _ in range(300):
        messages, shown = questions.draw_conversation(chance, scenes.TRAINED_KINDS)
        assert sum(message["content"].count(questions.PICTURE) for message in messages) == len(shown)
        assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2)
        assert all(questions.PICTURE not in message["content"] for message in messages[1::2])
        pictures.add(len(shown))
    assert pictures == {0, 1, 2}


@pytest.mark.parametrize(
    ("kind", "english", "chinese"),
    [
        ("describe", "A red circle on a blue background.", "蓝色背景上的红色圆形。"),
        ("colour", "It is red.", "它是红色。"),
        ("shape", "It is a circle.", "它是圆形。"),
        ("background", "The background is blue.", "背景是蓝色。"),
        ("right_shape", "Yes, it is a circle.", "是的，它是圆形。"),
        ("wrong_shape", "No, it is a circle.", "不，它是圆形。"),
        ("right_colour", "Yes, it is red.", "是的，它是红色。"),
        ("wrong_colour", "No, it is red.", "不，它是红色。"),
    ],
)
def test_answers_are_true(kind: str, english: str, chinese: str) -> None:
    for seed in range(10):
        for language, answer in (("en", english), ("zh", chinese)):
            asked, said = questions.ask(random.Random(seed), kind, SCENE, language)
            assert said == answer
            assert "{" not in asked
            if kind == "wrong_shape":
                assert (scenes.SHAPES["circle"] if language == "zh" else "circle") not in asked


def test_the_wire_carries_pictures_where_they_stand() -> None:
    pixels = scenes.render(SCENE, 32, random.Random(1))
    messages = [
        {"role": "user", "content": f"{questions.PICTURE}What is it?"},
        {"role": "user", "content": "?"},
    ]
    first, second = score.wire(messages, [pixels])
    assert second == messages[1]
    image, text = first["content"]
    assert text == {"type": "text", "text": "What is it?"}
    encoded = image["image_url"]["url"].removeprefix("data:image/png;base64,")
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))), np.float32) / 255
    assert abs(shown - pixels).max() < 1 / 200


def test_what_is_scored_is_the_same_each_time() -> None:
    items = score.held_out_items(4)
    assert items == score.held_out_items(4)
    assert len({item.skill for item in items}) == 6
