"""Says what a picture of one shape shows by measuring it: starter-image's yardstick, with nothing learned."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from training import scenes
from training.scenes import Pixels, Scene

_GRID = 32
_TURNS = (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3)
Mask = NDArray[np.bool_]


def colour_name(colour: Pixels) -> str:
    """The name whose middle is nearest."""
    middles = np.array([colour for colour, _ in scenes.COLOURS.values()], np.float32) / 255
    return scenes.COLOUR_NAMES[int(((middles - colour) ** 2).sum(1).argmin())]


def _fitted(mask: Mask) -> Mask:
    """The part of a mask within its bounding box, on a grid of its own."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    down = np.linspace(rows[0], rows[-1] + 0.999, _GRID, endpoint=False).astype(int)
    across = np.linspace(columns[0], columns[-1] + 0.999, _GRID, endpoint=False).astype(int)
    return mask[np.ix_(down, across)]


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[str, Mask]]:
    return [
        (shape, _fitted(scenes.inside(Scene("", shape, "", 0.35, 0.5, 0.5, turn), 128) > 0.5))
        for shape in scenes.SHAPE_NAMES
        for turn in _TURNS
    ]


def shape_name(mask: Mask) -> str:
    """The shape that covers most of what it covers, fitted to its bounding box."""
    fitted = _fitted(mask)
    shares = [(fitted & each).sum() / (fitted | each).sum() for _, each in _patterns()]
    return _patterns()[int(np.argmax(shares))][0]


def judge(picture: Pixels) -> tuple[str, str, str]:
    """Colour, shape and background of pixels [p, p, 3] between 0 and 1; an empty shape when there is none."""
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    background: Pixels = np.median(border, axis=0)
    distance = np.sqrt(((picture - background) ** 2).sum(-1))
    far = float(np.quantile(distance, 0.99))
    if far < 0.08:
        return "", "", colour_name(background)
    mask = distance > far / 2
    colour = np.median(picture[distance > far * 0.8], axis=0)
    return colour_name(colour), shape_name(mask), colour_name(background)
