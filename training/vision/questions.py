"""Questions about pictures and their answers, as OpenAI messages that hold scenes in place of pictures.

Nothing here knows about pixels or tokens.
"""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any

from training import scenes
from training.chat.conversation import Message
from training.scenes import Scene

# Where a picture stands in a message's text, in order. No conversation contains this character.
PICTURE = "\ufffc"
LANGUAGES = ("en", "en", "zh")
TURNS: dict[str, Any] = tomllib.loads((Path(__file__).parent / "questions.toml").read_text(encoding="utf-8"))
# How often each is asked of one picture.
SHARES = {
    "describe": 8, "colour": 3, "shape": 5, "background": 3,
    "right_shape": 2, "wrong_shape": 2, "right_colour": 1, "wrong_colour": 1,
}  # fmt: skip

Shown = tuple[list[Message], list[Scene]]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _words(chance: random.Random, scene: Scene, language: str) -> dict[str, str]:
    def colour(name: str) -> str:
        return scenes.COLOURS[name][1] if language == "zh" else name

    def shape(name: str) -> str:
        return scenes.SHAPES[name] if language == "zh" else name

    caption = scenes.caption(scene, language)
    return {
        "colour": colour(scene.colour),
        "shape": shape(scene.shape),
        "background": colour(scene.background),
        "other_colour": colour(chance.choice([name for name in scenes.COLOURS if name != scene.colour])),
        "other_shape": shape(chance.choice([name for name in scenes.SHAPES if name != scene.shape])),
        "caption": caption,
        "caption_capital": _capital(caption),
    }


def ask(chance: random.Random, kind: str, scene: Scene, language: str) -> tuple[str, str]:
    """A question of this kind about a scene, and its answer."""
    words, turn = _words(chance, scene, language), TURNS[kind][language]
    return chance.choice(turn["questions"]).format(**words), turn["answer"].format(**words)


def _exchange(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _beside(chance: random.Random, question: str, pictures: int) -> str:
    """The question with its pictures, after it as the page's samples have it, or before."""
    return question + PICTURE * pictures if chance.random() < 0.65 else PICTURE * pictures + question


def about_one(chance: random.Random, scene: Scene, language: str, kinds: list[str]) -> Shown:
    """A picture, a question about it, and more in later turns."""
    messages: list[Message] = []
    for place, kind in enumerate(kinds):
        question, answer = ask(chance, kind, scene, language)
        messages += _exchange(question if place else _beside(chance, question, 1), answer)
    return messages, [scene]


def about_two(chance: random.Random, pair: list[Scene], language: str) -> Shown:
    """Two pictures at once."""
    turn = TURNS["both"][language]
    first, second = (scenes.caption(scene, language) for scene in pair)
    question = _beside(chance, chance.choice(turn["questions"]), 2)
    return _exchange(question, turn["answer"].format(first=first, second=second)), pair


def about_none(chance: random.Random, language: str) -> Shown:
    """A question about a picture that is not there."""
    turn = TURNS["none"][language]
    return _exchange(chance.choice(turn["questions"]), turn["answer"]), []


def draw_conversation(chance: random.Random, kinds: list[tuple[str, str, str]]) -> Shown:
    """Any of these, as training draws them."""
    language = chance.choice(LANGUAGES)
    what = chance.random()
    if what < 0.04:
        return about_none(chance, language)
    if what < 0.2:
        return about_two(chance, [scenes.draw_scene(chance, kinds) for _ in range(2)], language)
    asked = chance.choices(list(SHARES), list(SHARES.values()), k=chance.choice((1, 1, 2, 3)))
    return about_one(chance, scenes.draw_scene(chance, kinds), language, asked)
