"""Scores starter-image through onnxruntime; judge.py measures what it draws.

Run `python -m training.image.score` (needs onnxruntime, not torch).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training import manifest, scenes
from training.image import judge, prompts, sample
from training.image.prompts import Wish
from training.scenes import Pixels

SEED = 4242
# Guidance for a prompt that says what is to change.
EDIT_GUIDANCE = 1.5
Kind = tuple[str, str, str]


def _save(pictures: Pixels, path: Path) -> None:
    rows = [
        np.concatenate(list(row), axis=1) for row in np.array_split(pictures, max(1, len(pictures) // 10))
    ]
    width = min(row.shape[1] for row in rows)
    sheet = np.concatenate([row[:, :width] for row in rows])
    Image.fromarray((sheet * 255).astype(np.uint8)).save(path)


def _right(pictures: Pixels, wanted: list[Kind]) -> int:
    return sum(judge.judge(picture) == kind for picture, kind in zip(pictures, wanted, strict=True))


def drawn(artist: sample.Artist, kinds: list[Kind], count: int, sheet: Path | None) -> tuple[int, int]:
    """Pictures that show just what their prompt says."""
    chance = random.Random(SEED)
    wanted = [chance.choice(kinds) for _ in range(count)]
    languages = ("en", "en", "zh")
    texts = [prompts.prompt(chance, Wish(*kind), languages[place % 3]) for place, kind in enumerate(wanted)]
    pictures = artist.draw(texts, np.zeros((count, 4, sample.PIXELS, sample.PIXELS), np.float32), SEED)
    if sheet:
        _save(pictures, sheet)
    return _right(pictures, wanted), count


def edited(artist: sample.Artist, count: int, sheet: Path | None) -> tuple[int, int]:
    """Pictures with just the colour or the background changed, as asked."""
    chance = random.Random(SEED + 1)
    sources, texts, wanted, before = [], [], [], []
    for place in range(count):
        scene = scenes.draw_scene(chance, scenes.TRAINED_KINDS)
        part = ("colour", "background")[place % 2]
        free = [name for name in scenes.COLOUR_NAMES if name not in (scene.colour, scene.background)]
        change: dict[str, Any] = {part: chance.choice(free)}
        picture = scenes.render(scene, sample.PIXELS, chance)
        before.append(picture)
        sources.append(sample.known_source(picture))
        texts.append(prompts.prompt(chance, Wish(**change), ("en", "zh")[place // 2 % 2]))
        wanted.append(dataclasses.replace(scene, **change).kind)
    pictures = artist.draw(texts, np.stack(sources), SEED, guidance=EDIT_GUIDANCE)
    if sheet:
        _save(np.stack([each for pair in zip(before, pictures, strict=True) for each in pair]), sheet)
    return _right(pictures, wanted), count


def varied(artist: sample.Artist, count: int, sheet: Path | None) -> tuple[int, int]:
    """Other pictures of the same kind."""
    chance = random.Random(SEED + 2)
    shown = [scenes.draw_scene(chance, scenes.TRAINED_KINDS) for _ in range(count)]
    before = [scenes.render(scene, sample.PIXELS, chance) for scene in shown]
    sources = np.stack([sample.known_source(picture) for picture in before])
    pictures = artist.draw([""] * count, sources, SEED, guidance=1.0)
    if sheet:
        _save(np.stack([each for pair in zip(before, pictures, strict=True) for each in pair]), sheet)
    return _right(pictures, [scene.kind for scene in shown]), count


def filled(artist: sample.Artist, count: int, sheet: Path | None) -> tuple[int, int]:
    """Empty pictures with a hole, in which the shape that was asked for was put on the same background."""
    chance = random.Random(SEED + 3)
    sources, texts, wanted, known = [], [], [], np.ones((sample.PIXELS, sample.PIXELS), np.float32)
    known[12:52, 12:52] = 0
    for place in range(count):
        colour, shape, background = chance.choice(scenes.TRAINED_KINDS)
        paint = np.array(scenes.COLOURS[background][0], np.float32) / 255
        sources.append(sample.known_source(np.broadcast_to(paint, (*known.shape, 3)), known))
        texts.append(prompts.prompt(chance, Wish(colour, shape), ("en", "zh")[place % 2]))
        wanted.append((colour, shape, background))
    pictures = artist.draw(texts, np.stack(sources), SEED)
    if sheet:
        _save(pictures, sheet)
    return _right(pictures, wanted), count


def read(artist: sample.Artist, count: int) -> tuple[int, int]:
    """Prompts of combinations never trained on, understood in every part."""
    chance, right, start = random.Random(SEED + 4), 0, np.cumsum((0, *prompts.WIDTHS))
    for place in range(count):
        wish = prompts.draw_wish(chance, scenes.HELD_OUT_KINDS)
        said = artist.wishes([prompts.prompt(chance, wish, ("en", "zh")[place % 2])])[0]
        parts = itertools.pairwise(start)
        right += [int(said[low:high].argmax()) for low, high in parts] == wish.places()
    return right, count


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=manifest.PACKAGE)
    parser.add_argument("--count", type=int, default=60, help="pictures of each kind")
    parser.add_argument("--sheets", type=Path, help="folder for sheets of what was drawn, to be looked at")
    parser.add_argument("--write", action="store_true", help="enter the scores in the manifest")
    options = parser.parse_args()
    reader, hand = options.folder / "starter-image-reader.onnx", options.folder / "starter-image.onnx"
    artist = sample.Artist(reader, hand)

    def sheet(name: str) -> Path | None:
        return options.sheets / f"{name}.png" if options.sheets else None

    count = options.count
    scores = {
        "colour, shape and background as told": drawn(artist, scenes.TRAINED_KINDS, count, sheet("drawn")),
        "the same, combinations never trained on": drawn(artist, scenes.HELD_OUT_KINDS, count, sheet("new")),
        "edits: colour or background changed, all else kept": edited(artist, count, sheet("edited")),
        "masks: shape put into a hole": filled(artist, count, sheet("filled")),
        "variations of the same kind": varied(artist, count, sheet("varied")),
    }
    understood = {"prompts read wholly, combinations never trained on": read(artist, 4 * count)}
    print("| skill | right |\n|---|---|")
    for skill, (right, asked) in (scores | understood).items():
        print(f"| {skill} | {right} of {asked} |")
    if options.write:
        manifest.add_scores(hand, scores)
        manifest.add_scores(reader, understood)


if __name__ == "__main__":
    main()
