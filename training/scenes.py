"""Scenes for the eye and the hand: one coloured shape on a coloured background, as numbers, words and pixels.

starter-vision learns to say what is drawn here, starter-image to draw it. Needs numpy, nothing else.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]

# Red, green and blue of the middle of each colour, and its Chinese name.
COLOURS = {
    "red": ((215, 35, 40), "红色"),
    "orange": ((245, 140, 25), "橙色"),
    "yellow": ((248, 222, 45), "黄色"),
    "green": ((40, 160, 65), "绿色"),
    "blue": ((35, 80, 215), "蓝色"),
    "purple": ((130, 45, 165), "紫色"),
    "pink": ((250, 150, 190), "粉色"),
    "black": ((15, 15, 15), "黑色"),
    "white": ((248, 248, 248), "白色"),
    "gray": ((135, 135, 135), "灰色"),
}
SHAPES = {
    "circle": "圆形",
    "square": "正方形",
    "triangle": "三角形",
    "star": "星形",
    "heart": "心形",
    "cross": "十字形",
}
COLOUR_NAMES, SHAPE_NAMES = tuple(COLOURS), tuple(SHAPES)
# One combination of colour, shape and background in ten is kept for scoring.
_HELD_OUT_SHARE = 10
# Half the width of a shape, as a share of the picture's.
SMALL, MIDDLE, LARGE = (0.15, 0.2), (0.23, 0.33), (0.36, 0.43)


@dataclass(frozen=True)
class Scene:
    """What a picture shows; places and sizes are shares of its width."""

    colour: str
    shape: str
    background: str
    size: float
    across: float
    down: float
    turn: float

    @property
    def kind(self) -> tuple[str, str, str]:
        """The combination that decides whether it is held out."""
        return self.colour, self.shape, self.background


def is_held_out(kind: tuple[str, str, str]) -> bool:
    """Whether this combination is kept for scoring."""
    return zlib.crc32(" ".join(kind).encode()) % _HELD_OUT_SHARE == 0


KINDS = [
    (colour, shape, background)
    for colour in COLOUR_NAMES
    for shape in SHAPE_NAMES
    for background in COLOUR_NAMES
    if colour != background
]
TRAINED_KINDS = [kind for kind in KINDS if not is_held_out(kind)]
HELD_OUT_KINDS = [kind for kind in KINDS if is_held_out(kind)]


def place_scene(chance: random.Random, kind: tuple[str, str, str], sizes: tuple[float, float]) -> Scene:
    """This combination within these sizes, wherever it has room."""
    size = chance.uniform(*sizes)
    across, down = (chance.uniform(size + 0.03, 0.97 - size) for _ in range(2))
    return Scene(*kind, size, across, down, chance.gauss(0, 0.12))


def draw_scene(chance: random.Random, kinds: list[tuple[str, str, str]]) -> Scene:
    """Any of these combinations, of any size."""
    return place_scene(chance, chance.choice(kinds), chance.choice((SMALL, MIDDLE, MIDDLE, LARGE)))


def _polygon(x: Pixels, y: Pixels, corners: NDArray[np.float64]) -> Pixels:
    """Signed distance to a polygon, negative inside."""
    nearest = np.full(x.shape, 1e9, np.float32)
    sign = np.ones(x.shape, np.float32)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ex, ey, wx, wy = bx - ax, by - ay, x - ax, y - ay
        along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, (wx - ex * along) ** 2 + (wy - ey * along) ** 2)
        crosses = (ay <= y) != (by <= y)
        left = (ex * wy - ey * wx) * (1 if by > ay else -1) > 0
        sign = np.where(crosses & left, -sign, sign)
    distance: Pixels = sign * np.sqrt(nearest)
    return distance


def _star_corners() -> NDArray[np.float64]:
    angle = np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2 == 0, 1.08, 0.45)
    return np.stack([radius * np.sin(angle), -radius * np.cos(angle)], axis=1)


def _heart_corners() -> NDArray[np.float64]:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    across = 16 * np.sin(t) ** 3
    down = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([across / 16, (down - 2.5) / 15], axis=1)


_ARM = 0.34
_CROSS = [(-1, 0), (0, -1), (1, 0), (0, 1)]
CORNERS = {
    "square": np.array([(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)]),
    "triangle": np.array([(0.0, -1.0), (1.0, 0.8), (-1.0, 0.8)]),
    "star": _star_corners(),
    "heart": _heart_corners(),
    "cross": np.array(
        [
            (-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM),
            (_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM),
        ]
    ),
}  # fmt: skip


def _distance(shape: str, x: Pixels, y: Pixels) -> Pixels:
    if shape == "circle":
        return (np.hypot(x, y) - 0.97).astype(np.float32)
    return _polygon(x, y, CORNERS[shape])


def _paint(name: str, chance: random.Random) -> Pixels:
    """A colour near the middle of its name; grays stay gray."""
    middle = np.array(COLOURS[name][0], np.float32)
    if name in ("black", "white", "gray"):
        return middle + chance.uniform(-14, 14)
    return middle + np.array([chance.uniform(-16, 16) for _ in range(3)], np.float32)


def inside(scene: Scene, pixels: int) -> Pixels:
    """[pixels, pixels]: how much of each pixel the shape covers."""
    place = (np.arange(pixels, dtype=np.float32) + 0.5) / pixels
    x, y = np.meshgrid((place - scene.across) / scene.size, (place - scene.down) / scene.size)
    cosine, sine = np.cos(scene.turn), np.sin(scene.turn)
    distance = _distance(scene.shape, cosine * x + sine * y, cosine * y - sine * x)
    return np.clip(0.5 - distance * scene.size * pixels, 0, 1).astype(np.float32)


def paints(scene: Scene, chance: random.Random) -> tuple[Pixels, Pixels]:
    """The very colours of shape and background."""
    return _paint(scene.colour, chance), _paint(scene.background, chance)


def render(
    scene: Scene, pixels: int, chance: random.Random, chosen: tuple[Pixels, Pixels] | None = None
) -> Pixels:
    """[pixels, pixels, 3] between 0 and 1, with soft edges, in these very colours or any of their names."""
    covered = inside(scene, pixels)[..., None]
    colour, background = chosen or paints(scene, chance)
    return np.clip((covered * colour + (1 - covered) * background) / 255, 0, 1).astype(np.float32)


def size_word(scene: Scene) -> str:
    """`small`, `large`, or nothing for what is between."""
    return "small" if scene.size <= SMALL[1] else "large" if scene.size >= LARGE[0] else ""


def caption(scene: Scene, language: str) -> str:
    """The one description: "a red circle on a blue background"."""
    if language == "zh":
        colour, ground = COLOURS[scene.colour][1], COLOURS[scene.background][1]
        return f"{ground}背景上的{colour}{SHAPES[scene.shape]}"
    article = "an" if scene.colour[0] in "aeiou" else "a"
    ground_article = "an" if scene.background[0] in "aeiou" else "a"
    return f"{article} {scene.colour} {scene.shape} on {ground_article} {scene.background} background"
