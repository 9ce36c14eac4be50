"""Wishes, and the prompts that people would type for them; a wish may leave any attribute open.

It must not know how a picture is drawn or a prompt is read.
"""

from __future__ import annotations

import random
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training import scenes
from training.chat import phrases
from training.chat.source import Source

WORDS: dict[str, Any] = tomllib.loads((Path(__file__).parent / "prompts.toml").read_text(encoding="utf-8"))
SIZES = ("small", "large")
# The attributes in the order in which wishes are laid out; the last value of each is "not said".
VALUES = (scenes.COLOUR_NAMES, scenes.SHAPE_NAMES, scenes.COLOUR_NAMES, SIZES)
WIDTHS = tuple(len(values) + 1 for values in VALUES)


@dataclass(frozen=True)
class Wish:
    """What a prompt asks for; None where it does not say."""

    colour: str | None = None
    shape: str | None = None
    background: str | None = None
    size: str | None = None

    def places(self) -> list[int]:
        """Which value of each attribute it is."""
        asked = (self.colour, self.shape, self.background, self.size)
        return [len(v) if a is None else v.index(a) for a, v in zip(asked, VALUES, strict=True)]


def numbers(wish: Wish) -> list[float]:
    """The wish as the hand is told: ones and zeros, attribute after attribute."""
    row = []
    for place, width in zip(wish.places(), WIDTHS, strict=True):
        row += [float(place == each) for each in range(width)]
    return row


def _word(chance: random.Random, table: str, language: str, value: str) -> str:
    words = WORDS[table][language][value]
    word: str = words[0] if chance.random() < 0.6 else chance.choice(words)
    return word


def _thing(chance: random.Random, wish: Wish, language: str) -> str:
    """As far as it is wished: "a small red circle"."""
    size = _word(chance, "sizes", language, wish.size) if wish.size else ""
    colour = _word(chance, "colours", language, wish.colour) if wish.colour else ""
    shape = _word(chance, "shapes", language, wish.shape) if wish.shape else ""
    if language == "zh":
        of = "的" if colour and shape and chance.random() < 0.5 else ""
        return f"{size}{colour}{of}{shape or '图形'}"
    if colour and shape and chance.random() < 0.08:
        return f"a {size} {shape} in {colour}".replace("  ", " ")
    words = [word for word in (size, colour, shape or chance.choice(("shape", "thing", "figure"))) if word]
    article = chance.choice(("a ", "a ", "one ", "the ", ""))
    if article == "a " and words[0][0] in "aeiou":
        article = "an "
    return article + " ".join(words)


def _whole(chance: random.Random, wish: Wish, language: str) -> str:
    opening, closing = (chance.choice(WORDS[part][language]) for part in ("openings", "closings"))
    ground = _word(chance, "colours", language, wish.background) if wish.background else ""
    has_thing = wish.colour or wish.shape or wish.size
    if not has_thing:
        return (opening + chance.choice(WORDS["change_ground"][language]).format(g=ground)) if ground else ""
    thing = _thing(chance, wish, language)
    if not ground:
        return f"{opening}{thing}{closing}"
    if chance.random() < 0.2:
        return chance.choice(WORDS["grounds_first"][language]).format(g=ground) + thing + closing
    return opening + thing + chance.choice(WORDS["grounds"][language]).format(g=ground) + closing


def _change(chance: random.Random, wish: Wish, language: str) -> str:
    """One attribute asked for as an edit; an edit that names the shape's colour may name the shape."""
    named = chance.choice(scenes.SHAPE_NAMES) if wish.shape is None else wish.shape
    words = {"s": _word(chance, "shapes", language, named)}
    if wish.background:
        kind, words["g"] = "change_ground", _word(chance, "colours", language, wish.background)
    elif wish.colour:
        kind, words["c"] = "change_colour", _word(chance, "colours", language, wish.colour)
    elif wish.size:
        kind, words["z"] = "change_size", _word(chance, "sizes", language, wish.size)
    else:
        kind = "change_shape"
    templates = [text for text in WORDS[kind][language] if wish.shape or "{s}" not in text]
    return str(chance.choice(templates).format(**words))


def _nothing(chance: random.Random, language: str) -> str:
    """A prompt that wishes nothing the hand can draw."""
    source = Source(chance.getrandbits(32))
    subject = chance.choice((source.one(phrases.QUESTIONS["unknown_subject"][language]), source.word(), ""))
    opening = chance.choice(WORDS["openings"][language])
    return f"{opening}{subject}{chance.choice(WORDS['closings'][language])}" if subject else ""


def _typed(chance: random.Random, text: str) -> str:
    draw = chance.random()
    if draw < 0.15:
        return text.lower()
    return text[:1].upper() + text[1:] if draw < 0.5 else text


def prompt(chance: random.Random, wish: Wish, language: str) -> str:
    """The wish in words."""
    said = [each for each in (wish.colour, wish.shape, wish.background, wish.size) if each]
    if not said:
        return _typed(chance, _nothing(chance, language))
    is_change = len(said) == 1 or (len(said) == 2 and wish.shape and not wish.background)
    if is_change and chance.random() < 0.4:
        return _typed(chance, _change(chance, wish, language))
    return _typed(chance, _whole(chance, wish, language))


def draw_wish(chance: random.Random, kinds: list[tuple[str, str, str]]) -> Wish:
    """Any wish of a combination from `kinds`, or of a part of one."""
    colour, shape, background = chance.choice(kinds)
    size = chance.choice(SIZES) if chance.random() < 0.2 else None
    if chance.random() < 0.6:
        return Wish(colour, shape, background, size)
    keep = [chance.random() < 0.4 for _ in range(3)]
    return Wish(
        colour if keep[0] else None, shape if keep[1] else None, background if keep[2] else None, size
    )
