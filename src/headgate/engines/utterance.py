"""A text cut into what is spoken at one go, each piece with the language that its script tells of.

Pure. The first piece is the shortest, for somebody waits for its sound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

MOST_CHARACTERS = 300
"""Of a piece: what is spoken at once cannot be called back, and its sound is held in memory."""

FIRST_CHARACTERS = 100
"""Of the first one, if it can be cut at a comma: a neural voice needs about a tenth of what it speaks."""

# A full stop ends a sentence only before a space: 3.5, example.com.
_SENTENCE = re.compile(r".+?(?:[.!?…]+[\"')\]]*(?=\s)|[。！？；]+[」』”]?|\n+|$)\s*", re.DOTALL)
_CLAUSE = re.compile(r".+?(?:[,;:—–](?=\s)|[，、：]|$)\s*", re.DOTALL)

_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),  # before Chinese: Japanese has its characters as well
    ("ko", re.compile(r"[\uac00-\ud7af\u1100-\u11ff]")),
    ("zh", re.compile(r"[\u4e00-\u9fff\u3400-\u4dbf]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("bn", re.compile(r"[\u0980-\u09ff]")),
    ("ta", re.compile(r"[\u0b80-\u0bff]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
    ("ka", re.compile(r"[\u10a0-\u10ff]")),
    ("hy", re.compile(r"[\u0530-\u058f]")),
)
_LATIN = "en"


class Utterance(msgspec.Struct, frozen=True):
    """One piece of a text."""

    text: str
    language: str
    """ISO 639-1, as far as the script tells: every text in Latin letters is taken for English."""


def utterances(text: str) -> Iterator[Utterance]:
    """The pieces of a text, in order; nothing of it is lost but the space between them."""
    first = True
    for sentence in _SENTENCE.findall(text):
        limit = FIRST_CHARACTERS if first else MOST_CHARACTERS
        for piece in _cut(sentence, limit):
            words = piece.strip()
            if words:
                yield Utterance(words, language_of(words))
                first = False


def language_of(text: str) -> str:
    """What most of the letters are of, Latin ones aside where there are others."""
    found = {language: len(script.findall(text)) for language, script in _SCRIPTS}
    if found["ja"] and found["zh"]:
        found["zh"] = 0
    best = max(found, key=lambda language: found[language])
    latin = len(re.findall(r"[A-Za-z]", text))
    # One character of Chinese says as much as a word of Latin letters.
    return best if found[best] and found[best] * 5 > latin else _LATIN


def _cut(sentence: str, limit: int) -> Iterator[str]:
    if len(sentence) <= limit:
        yield sentence
        return
    held = ""
    for clause in _CLAUSE.findall(sentence):
        if held and len(held) + len(clause) > limit:
            yield held
            held, limit = "", MOST_CHARACTERS
        held += clause
        while len(held) > MOST_CHARACTERS:
            space = held.rfind(" ", 1, MOST_CHARACTERS)
            end = space if space > 0 else MOST_CHARACTERS
            yield held[:end]
            held = held[end:]
    yield held
