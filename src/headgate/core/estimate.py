"""How many tokens a text would be, when the upstream did not say. Pure, and no tokenizer: the tables of one
model would be wrong for another.

Words of up to six Latin letters are mostly one token in the byte-pair vocabularies in use, longer ones split
about every six letters, those of other alphabets every two, digits go in threes, punctuation in twos, and
Chinese, Japanese and Korean are about one token a character.
"""

from __future__ import annotations

import re

LETTERS_PER_TOKEN = 6
OTHER_LETTERS_PER_TOKEN = 2
DIGITS_PER_TOKEN = 3
MARKS_PER_TOKEN = 2
BYTES_PER_TOKEN = 4
"""English prose as JSON; for prompts, whose text is not kept."""

SAMPLE_CHARACTERS = 65_536
"""Looked at of a longer text, and taken for the whole: ten milliseconds, in which nothing else can run."""

_PIECES = re.compile(
    r"(?P<word>[A-Za-zÀ-ɏ]+)|(?P<digits>[0-9]+)|(?P<space>\s+)|(?P<marks>[!-/:-@\[-`{-~]+)"
    r"|(?P<letters>[\u0370-\u1fff]+)|(?P<other>.)"
)


def estimate_tokens(text: str) -> int:
    """About how many tokens `text` is."""
    if len(text) > SAMPLE_CHARACTERS:
        return estimate_tokens(text[:SAMPLE_CHARACTERS]) * len(text) // SAMPLE_CHARACTERS
    tokens = 0
    for match in _PIECES.finditer(text):
        kind, length = match.lastgroup, match.end() - match.start()
        if kind == "word":
            tokens += -(-length // LETTERS_PER_TOKEN)
        elif kind == "digits":
            tokens += -(-length // DIGITS_PER_TOKEN)
        elif kind == "marks":
            tokens += -(-length // MARKS_PER_TOKEN)
        elif kind == "letters":
            tokens += -(-length // OTHER_LETTERS_PER_TOKEN)
        elif kind == "other":
            tokens += 1
    return tokens


def estimate_prompt_tokens(body_bytes: int) -> int:
    """About how many tokens a request body of this size asks the model to read."""
    return -(-body_bytes // BYTES_PER_TOKEN)
