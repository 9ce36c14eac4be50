"""Scores starter-chat's eye through the real llama.cpp over HTTP, on pictures drawn for the purpose.

Run `python -m training.vision.score` (needs xllamacpp, not torch).
"""

from __future__ import annotations

import argparse
import base64
import io
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training import manifest, scenes
from training.chat.conversation import Message
from training.engine import SLOTS, Engine, serving
from training.scenes import Pixels, Scene
from training.vision import questions

SEED = 888
# Larger than the eye sees, as people's pictures are.
PIXELS = 256


@dataclass(frozen=True)
class Item:
    """One reply to be judged."""

    skill: str
    messages: list[Message]
    expected: str


def data_uri(picture: Pixels) -> str:
    """Pixels between 0 and 1 as a PNG in a data URI."""
    file = io.BytesIO()
    Image.fromarray((picture * 255).astype(np.uint8)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def wire(messages: list[Message], shown: list[Pixels]) -> list[Message]:
    """OpenAI messages in which each mark of a picture has become an image part."""
    waiting = iter(shown)
    written: list[Message] = []
    for message in messages:
        if questions.PICTURE not in message["content"]:
            written.append(message)
            continue
        parts: list[dict[str, Any]] = []
        for place, words in enumerate(message["content"].split(questions.PICTURE)):
            if place:
                parts.append({"type": "image_url", "image_url": {"url": data_uri(next(waiting))}})
            if words:
                parts.append({"type": "text", "text": words})
        written.append(message | {"content": parts})
    return written


def _one(chance: random.Random, skill: str, scene: Scene, language: str, kinds: list[str]) -> Item:
    messages, _ = questions.about_one(chance, scene, language, kinds)
    sent = wire(messages[:-1], [scenes.render(scene, PIXELS, chance)])
    return Item(skill, sent, messages[-1]["content"])


def held_out_items(count: int) -> list[Item]:
    """`count` questions of each skill, two of three in English, the same each time."""
    chance = random.Random(SEED)
    items: list[Item] = []
    asked = [kind for kind in questions.SHARES if kind != "describe"]
    for place in range(count):
        language = questions.LANGUAGES[place % 3]
        for skill, kinds in (
            ("described", scenes.TRAINED_KINDS),
            ("described, combinations never trained on", scenes.HELD_OUT_KINDS),
        ):
            items.append(_one(chance, skill, scenes.draw_scene(chance, kinds), language, ["describe"]))
        scene = scenes.draw_scene(chance, scenes.HELD_OUT_KINDS)
        items.append(_one(chance, "questions about it", scene, language, [asked[place % len(asked)]]))
        items.append(_one(chance, "several turns", scene, language, ["describe", *chance.sample(asked, 2)]))
        pair = [scenes.draw_scene(chance, scenes.TRAINED_KINDS) for _ in range(2)]
        messages, _ = questions.about_two(chance, pair, language)
        sent = wire(messages[:-1], [scenes.render(scene, PIXELS, chance) for scene in pair])
        items.append(Item("two pictures", sent, messages[-1]["content"]))
        messages, _ = questions.about_none(chance, language)
        items.append(Item("no picture", messages[:-1], messages[-1]["content"]))
    return items


def main() -> None:
    """Print one table, greedy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=manifest.PACKAGE)
    parser.add_argument("--count", type=int, default=60, help="questions per skill")
    parser.add_argument("--misses", type=int, default=0, help="how many wrong replies to show per skill")
    parser.add_argument("--write", action="store_true", help="enter the scores in the manifest")
    options = parser.parse_args()
    eye = options.folder / "starter-vision.gguf"
    items, scores = held_out_items(options.count), dict[str, tuple[int, int]]()

    def reply(engine: Engine, item: Item) -> str:
        return str(engine.reply(item.messages)["content"])

    with (
        serving(options.folder / "starter-chat.gguf", eye=eye) as engine,
        ThreadPoolExecutor(SLOTS) as threads,
    ):
        for item, said in zip(items, threads.map(lambda item: reply(engine, item), items), strict=True):
            right, asked = scores.get(item.skill, (0, 0))
            scores[item.skill] = right + (said == item.expected), asked + 1
            if said != item.expected and asked - right < options.misses:
                print(f"  miss ({item.skill}) wanted {item.expected!r}, got {said!r}")
    print("| skill | right |\n|---|---|")
    for skill, (right, asked) in scores.items():
        print(f"| {skill} | {right} of {asked} |")
    if options.write:
        manifest.add_scores(eye, scores)


if __name__ == "__main__":
    main()
