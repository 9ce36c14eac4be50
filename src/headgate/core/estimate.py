"""How many tokens a text would be, when the upstream did not say. Pure, and no tokenizer: the tables of one
model would be wrong for another.

Words of up to six letters are mostly one token in the byte-pair vocabularies in use, longer ones split about
every six letters, digits go in threes, punctuation in twos, and Chinese, Japanese and Korean are about one
token a character.
"""

from __future__ import annotations

import re

LETTERS_PER_TOKEN = 6
DIGITS_PER_TOKEN = 3
MARKS_PER_TOKEN = 2
BYTES_PER_TOKEN = 4
"""English prose as JSON; for prompts, whose text is not kept."""

_PIECES = re.compile(
    r"(?P<word>[A-Za-zÀ-ɏ]+)|(?P<digits>[0-9]+)|(?P<space>\s+)|(?P<marks>[!-/:-@\[-`{-~]+)|(?P<other>.)"
)


def estimate_tokens(text: str) -> int:
    """About how many tokens `text` is."""
    tokens = 0
    for match in _PIECES.finditer(text):
        kind, length = match.lastgroup, match.end() - match.start()
        if kind == "word":
            tokens += -(-length // LETTERS_PER_TOKEN)
        elif kind == "digits":
            tokens += -(-length // DIGITS_PER_TOKEN)
        elif kind == "marks":
            tokens += -(-length // MARKS_PER_TOKEN)
        elif kind == "other":
            tokens += 1
    return tokens


def estimate_prompt_tokens(body_bytes: int) -> int:
    """About how many tokens a request body of this size asks the model to read."""
    return -(-body_bytes // BYTES_PER_TOKEN)
