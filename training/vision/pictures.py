"""Scenes as a camera might hand them over: scaled, framed, noisy; and as the pixels that the eye is given.

The frame and its colour are llama.cpp's: it pads whatever is not square.
"""

from __future__ import annotations

import dataclasses
import random

import numpy as np
from PIL import Image

from training import scenes
from training.scenes import Pixels, Scene

_PADDING = np.array((122, 116, 104), np.float32) / 255


def _framed(scene: Scene, chance: random.Random, pixels: int) -> tuple[Scene, int]:
    """A scene small enough for a picture wider than high, and how many rows of padding it gets."""
    rows = chance.randint(3, pixels // 4)
    room = 0.5 - rows / pixels
    size = min(scene.size, room - 0.02)
    down = 0.5 + (scene.down - 0.5) * (room - size) / 0.5
    return dataclasses.replace(scene, size=size, down=down), rows


def photograph(scene: Scene, pixels: int, chance: random.Random) -> tuple[Pixels, Pixels]:
    """[pixels, pixels, 3] between 0 and 1, seldom as clean as drawn, and where its shape is, at half size."""
    rows = 0
    if chance.random() < 0.15:
        scene, rows = _framed(scene, chance, pixels)
    # Small pictures scaled up, as starter-image makes them, and large ones scaled down.
    drawn = chance.choice((pixels // 2, pixels, pixels, pixels * 2))
    seen = scenes.render(scene, drawn, chance)
    if drawn != pixels:
        other = Image.fromarray((seen * 255).astype(np.uint8))
        resized = other.resize((pixels, pixels), Image.Resampling.BICUBIC)
        seen = (np.asarray(resized, np.float32) / 255).astype(np.float32)
    if chance.random() < 0.5:
        noise = np.random.default_rng(chance.getrandbits(32)).normal(0, chance.uniform(0, 0.05), seen.shape)
        seen = np.clip(seen + noise, 0, 1).astype(np.float32)
    covered = scenes.inside(scene, pixels // 2)
    if rows:
        seen[:rows] = seen[-rows:] = _PADDING
        if chance.random() < 0.5:
            seen, covered = seen.transpose(1, 0, 2), covered.T
    return seen, covered
