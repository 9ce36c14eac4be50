"""How many tokens a text would be, when the upstream did not say. Pure, and no tokenizer: the tables of one
model would be wrong for another.

Bytes become classes (letter, digit, mark ...), and what counts is how often one class follows another: a word
begins, a number does, `camelCase` turns. Everything runs in C. The weights were fitted by least squares to
what o200k_base says of half a million characters of prose, code, JSON and Chinese. tests/core/samples has
other texts with their true counts: all are within a tenth.
"""

from __future__ import annotations

BYTES_PER_TOKEN = 4
"""English prose as JSON; where only a size is known."""

SAMPLE_BYTES = 4096
SAMPLE_SLICES = 8
"""Of a longer text, so many pieces are looked at, from its beginning to its end, and taken for the whole: a
tenth of a millisecond, in which nothing else can run."""

_UNIT = 1000

_LETTER, _CAPITAL, _DIGIT, _MARK, _SPACE, _LINE = b"aA0. n"
_HAN, _OTHER, _LATIN, _DASH, _EMOJI = b"colpe"
_CONTINUATION = bytes(range(0x80, 0xC0))
"""The second and further bytes of a character: left out, so that what is left is characters."""


def _class(byte: int) -> int:
    """The class of a character by its first byte."""
    for below, found in ((0xE2, _OTHER), (0xE3, _DASH), (0xF0, _HAN), (0x100, _EMOJI)):
        if 0xC4 <= byte < below:
            return found
    if byte >= 0x80:
        return _LATIN
    character = chr(byte)
    if character.isalpha():
        return _CAPITAL if character.isupper() else _LETTER
    if character.isdigit():
        return _DIGIT
    return _LINE if character in "\r\n" else _SPACE if character in " \t" else _MARK


_FINE = bytes(_class(byte) for byte in range(256))
_COARSE = _FINE.translate(bytes.maketrans(bytes([_CAPITAL, _LINE]), bytes([_LETTER, _SPACE])))
"""Capitals are letters here, and lines end in spaces."""

# What is counted, and its weight in thousandths of a token. Coarse classes:
_STEPS = (
    (b" a", 1090),  # a word begins
    (b".a", 1090),
    (b"0a", 870),
    (b"0", 286),
    (b" 0", 1324),  # a number begins
    (b".0", 1324),
    (b"a0", 1324),
    (b".", 286),
    (b"a.", 108),
    (b"0.", 108),
    (b" .", 808),
)
_FINE_STEPS = (
    (b"aA", 1231),
    (b"AA", 242),
    (b"n ", 1127),  # a line is indented
    (b"a" * 12, 1300),  # a long word goes on
)
_FOREIGN = (
    (b"c", 790),  # Chinese, Japanese, Korean: from 0.73 in plain texts to 0.87 in literary ones
    (b"o", 450),  # Greek, Cyrillic, Arabic ...
    (b"l", 900),  # accented letters split words
    (b"p", 1100),  # dashes, quotes, arrows
    (b"e", 2200),
)


def estimate_tokens(text: str) -> int:
    """About how many tokens `text` is."""
    raw = text.encode(errors="replace")
    size = len(raw)
    if size > SAMPLE_BYTES:
        piece = SAMPLE_BYTES // SAMPLE_SLICES
        stride = (size - piece) // (SAMPLE_SLICES - 1)
        sample = b"".join([raw[at : at + piece] for at in range(0, stride * SAMPLE_SLICES, stride)])
        return _weigh(sample) * size // (_UNIT * len(sample)) + 1
    # No token is less than a character, and no text less than a token.
    return min(len(text), max(1, (_weigh(raw) + _UNIT // 2) // _UNIT))


def estimate_prompt_tokens(body_bytes: int) -> int:
    """About how many tokens a request body of this size asks the model to read."""
    return -(-body_bytes // BYTES_PER_TOKEN)


def _weigh(raw: bytes) -> int:
    """Thousandths of a token."""
    # A space before the first word: it begins like any other.
    coarse = b" " + raw.translate(_COARSE, _CONTINUATION)
    weight = 0
    for step, each in _STEPS:
        weight += coarse.count(step) * each
    fine = raw.translate(_FINE, _CONTINUATION)
    for step, each in _FINE_STEPS:
        weight += fine.count(step) * each
    if not raw.isascii():
        for step, each in _FOREIGN:
            weight += fine.count(step) * each
    return weight
