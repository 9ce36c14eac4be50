"""The tokens: 256 bytes, the template's markers, and pieces that are whole words of the training texts.

A word has the same tokens wherever it stands, after a space or a quotation mark: what is copied is copied
token by token. So no piece joins a space to letters, two digits, or two Chinese characters. `merges.txt` is
written by `python -m training.chat.vocabulary`; it must not change without training anew.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

TURN_START, TURN_END, PADDING = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CONTROL_MARKERS = (TURN_START, TURN_END, PADDING)
TEXT_MARKERS = ("<tool_call>", "</tool_call>", "<tools>", "</tools>", "<tool_response>", "</tool_response>")
MARKERS = {marker: 256 + place for place, marker in enumerate(CONTROL_MARKERS + TEXT_MARKERS)}

_FILE = Path(__file__).parent / "merges.txt"
_SPLIT = re.compile("(" + "|".join(re.escape(marker) for marker in MARKERS) + ")")
# How GPT-2, and llama.cpp after it, cut text before pieces are joined.
_CUT = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")

# A word is learned whole when it stands this often in so many conversations: made-up ones never do.
_OFTEN, _CONVERSATIONS = 12, 6000
_MOST_MERGES = 1200

Pair = tuple[bytes, bytes]


def _read() -> list[Pair]:
    if not _FILE.exists():
        return []
    lines = _FILE.read_text(encoding="ascii").splitlines()
    return [(bytes.fromhex(left), bytes.fromhex(right)) for left, right in (line.split() for line in lines)]


MERGES = _read()
_RANKS = {pair: rank for rank, pair in enumerate(MERGES)}
# Two merges may make the same piece.
PIECES = [*dict.fromkeys([bytes([byte]) for byte in range(256)] + [left + right for left, right in MERGES])]
_FIRST_PIECE = 256 + len(MARKERS)
_TOKENS = {piece: place if place < 256 else place + len(MARKERS) for place, piece in enumerate(PIECES)}
VOCABULARY = len(PIECES) + len(MARKERS)


def _join(parts: list[bytes], pair: Pair) -> list[bytes]:
    joined: list[bytes] = []
    for part in parts:
        if joined and (joined[-1], part) == pair:
            joined[-1] += part
        else:
            joined.append(part)
    return joined


@lru_cache(maxsize=100_000)
def _cut_word(word: str) -> tuple[int, ...]:
    parts = [bytes([byte]) for byte in word.encode()]
    while len(parts) > 1:
        rank, pair = min((_RANKS.get(pair, len(MERGES)), pair) for pair in itertools.pairwise(parts))
        if rank == len(MERGES):
            break
        parts = _join(parts, pair)
    return tuple(_TOKENS[part] for part in parts)


def encode(text: str) -> list[int]:
    """The tokens of a text: markers whole, everything else in pieces."""
    tokens: list[int] = []
    for fragment in _SPLIT.split(text):
        if fragment in MARKERS:
            tokens.append(MARKERS[fragment])
        else:
            for word in _CUT.findall(fragment):
                tokens.extend(_cut_word(word))
    return tokens


def piece(token: int) -> bytes:
    """The bytes a token stands for; for a marker, its name."""
    if token < 256:
        return PIECES[token]
    if token < _FIRST_PIECE:
        return (CONTROL_MARKERS + TEXT_MARKERS)[token - 256].encode()
    return PIECES[token - len(MARKERS)]


def _may_join(left: bytes, right: bytes) -> bool:
    both = (left + right).decode("utf-8", "replace")
    if both.isascii():
        if both.isalpha():
            return True
        if any(letter.isalnum() or letter == "\n" for letter in both):
            return False
        # What opens a value stays alone: a grammar may leave out the space before it.
        return left == b" " or right[:1] not in b'"{[ '
    # Within one character: its first byte, then those that follow.
    return left[0] >= 0xC0 and all(0x80 <= byte < 0xC0 for byte in left[1:] + right)


def learn(texts: Iterable[str]) -> list[Pair]:
    """The merges that make frequent words whole, the most frequent first."""
    counts: Counter[str] = Counter()
    for text in texts:
        for fragment in _SPLIT.split(text):
            if fragment not in MARKERS:
                for word in _CUT.findall(fragment):
                    # A Chinese sentence is one word to the cutter: each character counts alone.
                    counts.update(word if not word.isascii() else [word])
    words = {
        word: ([bytes([byte]) for byte in word.encode()], count)
        for word, count in sorted(counts.items())
        if count >= _OFTEN
    }
    merges: list[Pair] = []
    while len(merges) < _MOST_MERGES:
        pairs: Counter[Pair] = Counter()
        for parts, count in words.values():
            for pair in itertools.pairwise(parts):
                if _may_join(*pair):
                    pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {word: (_join(parts, best), count) for word, (parts, count) in words.items()}
    return merges


def main() -> None:
    """Write merges.txt from training conversations."""
    from training.chat import conversation, dataset  # they need this module

    made = itertools.islice(dataset.conversations(1), _CONVERSATIONS)
    texts = ("".join(text for text, _ in conversation.segments(each.messages, each.tools)) for each in made)
    merges = learn(texts)
    _FILE.write_text("".join(f"{left.hex()} {right.hex()}\n" for left, right in merges), encoding="ascii")
    print(f"{len(merges)} merges")


if __name__ == "__main__":
    main()
