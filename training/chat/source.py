"""Seeded chance, for training or for scoring: what is held out for scoring is never drawn for training."""

from __future__ import annotations

import random
import string
import zlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from training.chat import phrases

Item = TypeVar("Item")

# One in twenty: enough to score on, and hardly missed in training.
HELD_OUT_SHARE = 20


def is_held_out(kind: str, value: object) -> bool:
    """Whether this value of this kind is kept for scoring; the same on every machine."""
    return zlib.crc32(f"{kind}:{value}".encode()) % HELD_OUT_SHARE == 0


class Source:
    """A seeded stream of choices for one side: training (`held_out=False`) or scoring (`held_out=True`)."""

    def __init__(self, seed: int, held_out: bool = False) -> None:
        self.random = random.Random(seed)
        self.held_out = held_out

    def one(self, items: Sequence[Item]) -> Item:
        """Any item, each as likely."""
        return self.random.choice(items)

    def chance(self, share: float) -> bool:
        """True in `share` of the calls."""
        return self.random.random() < share

    def whole(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return self.random.randint(low, high)

    def own(self, kind: str, make: Callable[[], Item]) -> Item:
        """Draw until the value belongs to this side."""
        while True:
            value = make()
            if is_held_out(kind, value) == self.held_out:
                return value

    def word(self) -> str:
        """A made-up word of one to three syllables."""
        count = self.whole(1, 3)
        syllables = (self.one(phrases.CONSONANTS) + self.one(phrases.VOWELS) for _ in range(count))
        return "".join(syllables) + self.one(phrases.ENDINGS)

    def letters(self, low: int, high: int) -> str:
        """Letters and digits without any pattern."""
        return "".join(self.one(string.ascii_letters + string.digits) for _ in range(self.whole(low, high)))

    def characters(self, low: int, high: int) -> str:
        """Chinese characters of the kind that place names are made of."""
        return "".join(self.one(phrases.PLACE_CHARACTERS) for _ in range(self.whole(low, high)))

    def city(self, language: str) -> str:
        """A city, real or made up, that belongs to this side."""
        return self.own("city", lambda: self._any_city(language))

    def _any_city(self, language: str) -> str:
        if language == "zh" and self.chance(0.8):
            if self.chance(0.35):
                return self.one(phrases.CITIES["zh"])
            return self.characters(2, 4)
        if self.chance(0.35):
            return self.one(phrases.CITIES["en"])
        name = self.word().capitalize()
        if self.chance(0.25):
            double = f"{name} {self.word().capitalize()}"
            name = self.one((double, f"{name}-{self.word()}", f"New {name}", f"San {name}"))
        if self.chance(0.1):
            country = self.word().capitalize()
            state = self.one("ABCDEFGHIJKLMNOPQRSTUVW") + self.one("ABCDEFGHIJKLMNOPQRSTUVW")
            name += ", " + self.one((country, state))
        return name

    def person(self, language: str) -> str:
        """A person's name that belongs to this side."""

        def draw() -> str:
            if language == "zh" and self.chance(0.8):
                if self.chance(0.4):
                    return self.one(phrases.PEOPLE["zh"])
                return self.one(phrases.FAMILY_NAMES) + self.characters(1, 2)
            return self.one(phrases.PEOPLE["en"]) if self.chance(0.3) else self.word().capitalize()

        return self.own("person", draw)
