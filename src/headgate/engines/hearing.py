"""What listens: the shape of a recogniser, and what it finds. Knows no particular one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

RATE = 16_000
"""Hertz that every recogniser here listens at."""

Sound = NDArray[np.int16]
"""16-bit mono at `RATE`."""


class Word(msgspec.Struct):
    """One word and when it was said, in seconds from the beginning."""

    word: str
    start: float
    end: float


class Segment(msgspec.Struct):
    """What was said between two pauses."""

    start: float
    end: float
    text: str
    words: list[Word] = []
    tokens: list[int] = []
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 1.0
    no_speech_prob: float = 0.0


class Wish(msgspec.Struct, frozen=True):
    """What a request wants, as far as it changes what is heard."""

    translate: bool = False
    language: str | None = None
    """ISO 639-1; None leaves it to the recogniser."""
    prompt: str | None = None
    keywords: tuple[str, ...] = ()
    temperature: float | None = None
    words: bool = False
    """Whether words' times are wanted."""
    vad: dict[str, float] | None = None
    """Numbers of voice activity detection, by the names of OpenAI's document; None leaves it alone."""


class Heard(msgspec.Struct):
    """The beginning of a result: more comes as it is found."""

    language: str
    """ISO 639-1."""
    segments: Iterator[Segment]


class Recogniser(Protocol):
    """One way of listening. Called from one thread."""

    languages: tuple[str, ...] | None
    """All that it knows; None for one that knows many."""
    ignores: tuple[str, ...]
    """Fields of a request that mean nothing to it; clients are told."""

    def hear(self, sound: Sound, wish: Wish, wanted: Callable[[], bool]) -> Heard:
        """Listens; segments come one by one, and none any more when it is not wanted."""
        ...
