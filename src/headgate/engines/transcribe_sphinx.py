"""pocketsphinx with the small English model that it brings: words and their times, without case or marks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pocketsphinx

from headgate.core import violation
from headgate.engines.hearing import RATE, Heard, Segment, Sound, Wish, Word

LONGEST_S, SHORTEST_S = 30.0, 15.0
"""Listened to at one go: its memory and the time until a result grow with it, and a cut may hit a word."""

QUIET_S = 0.2
"""A cut is made in the middle of the quietest such moment."""

STEP_S = 1.0
"""Between two looks whether anybody still wants it."""

PAUSE_S = 0.5
"""Between two segments."""

FRAMES_A_SECOND = 100
SILENCE_LEVEL = 120
"""Loudness (root of the mean square, of 32,768) below which nothing is said: it hears words in noise."""


class Sphinx:
    """The decoder, loaded; implements `engines.hearing.Recogniser`."""

    languages: tuple[str, ...] | None = ("en",)
    ignores: tuple[str, ...] = ("prompt", "keywords", "temperature", "chunking_strategy")

    def __init__(self) -> None:
        self._decoder: Any = pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL")
        self._mean = self._decoder.get_cmn(False)
        """What it takes a voice's average for, before it has heard any."""

    def hear(self, sound: Sound, wish: Wish, wanted: Callable[[], bool]) -> Heard:
        if wish.language is not None and wish.language != "en":
            raise violation.wrong_value(
                "language", "Invalid value for 'language': this model knows English only."
            )
        return Heard("en", self._segments(sound, wanted))

    def _segments(self, sound: Sound, wanted: Callable[[], bool]) -> Iterator[Segment]:
        start = 0
        while start < len(sound) and wanted():
            end = _cut(sound, start)
            part = sound[start:end]
            if np.sqrt(np.mean(part.astype(np.float64) ** 2)) > SILENCE_LEVEL:
                yield from _grouped(self._words(part, start / RATE, wanted))
            start = end

    def _words(self, part: Sound, offset_s: float, wanted: Callable[[], bool]) -> list[Word]:
        step = int(STEP_S * RATE)
        # It adapts to what it hears, and the last voice was somebody else's.
        self._decoder.set_cmn(self._mean)
        self._decoder.start_utt()
        try:
            for start in range(0, len(part), step):
                if not wanted():
                    return []
                self._decoder.process_raw(part[start : start + step].tobytes(), False, False)
        finally:
            self._decoder.end_utt()
        found: list[Word] = []
        for item in self._decoder.seg() or ():
            word = str(item.word)
            if word.startswith(("<", "[", "++")):
                continue  # silence and noise
            word = word.partition("(")[0]  # the second way to say it
            begin = offset_s + item.start_frame / FRAMES_A_SECOND
            found.append(
                Word(word, round(begin, 2), round(offset_s + (item.end_frame + 1) / FRAMES_A_SECOND, 2))
            )
        return found


def _cut(sound: Sound, start: int) -> int:
    """Where the next part ends: all of it if it is short, else the quietest moment of its second half."""
    if len(sound) - start <= LONGEST_S * RATE:
        return len(sound)
    first, last = start + int(SHORTEST_S * RATE), start + int(LONGEST_S * RATE)
    window = int(QUIET_S * RATE)
    energy = np.cumsum(sound[first:last].astype(np.float64) ** 2)
    loudness = energy[window:] - energy[:-window]
    return first + int(np.argmin(loudness)) + window // 2


def _grouped(words: list[Word]) -> Iterator[Segment]:
    group: list[Word] = []
    for word in words:
        if group and word.start - group[-1].end >= PAUSE_S:
            yield _segment(group)
            group = []
        group.append(word)
    if group:
        yield _segment(group)


def _segment(words: list[Word]) -> Segment:
    return Segment(words[0].start, words[-1].end, " ".join(word.word for word in words), words)
