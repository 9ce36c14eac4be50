"""How many tokens a picture in a prompt is, by its size as OpenAI counts them. Pure; its first bytes tell.

Other vendors count differently, by no more than half: theirs is reported when they answer.
"""

from __future__ import annotations

import binascii
import re
import struct

LOW_TOKENS = 85
TILE_TOKENS = 170
TILE_PIXELS = 512
LONGEST_PIXELS = 2048
SHORT_SIDE_PIXELS = 768
"""A picture is made to fit these, then cut into tiles: OpenAI's guide to vision, "high" detail."""
UNSEEN_TOKENS = LOW_TOKENS + 8 * TILE_TOKENS
"""Of a picture whose size is not known: the most that one can be."""
HEAD_CHARACTERS = 65_536
"""Of base64: where a JPEG has its size behind thumbnails and profiles."""

_DATA = re.compile(r"data:image/[a-z.+-]+;base64,", re.IGNORECASE)
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def of_url(url: str, detail: str | None) -> int:
    """Tokens of a picture by its URL and the `detail` that was asked for."""
    if detail == "low":
        return LOW_TOKENS
    found = _DATA.match(url)
    if found is None:
        return UNSEEN_TOKENS
    start = found.end()
    size = pixels(_decoded(url[start : start + HEAD_CHARACTERS]))
    return of_size(*size) if size is not None else UNSEEN_TOKENS


def of_size(width: int, height: int) -> int:
    """Tokens of a picture of so many pixels at high detail."""
    longest = max(width, height)
    if longest > LONGEST_PIXELS:
        width, height = width * LONGEST_PIXELS // longest, height * LONGEST_PIXELS // longest
    shortest = min(width, height)
    if shortest > SHORT_SIDE_PIXELS:
        width, height = width * SHORT_SIDE_PIXELS // shortest, height * SHORT_SIDE_PIXELS // shortest
    tiles = max(1, -(-width // TILE_PIXELS)) * max(1, -(-height // TILE_PIXELS))
    return LOW_TOKENS + tiles * TILE_TOKENS


def pixels(head: bytes) -> tuple[int, int] | None:
    """Width and height from the first bytes of a PNG, JPEG, GIF or WebP; None where they do not say."""
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return _pair(">II", head, 16)
        if head[:6] in (b"GIF87a", b"GIF89a"):
            return _pair("<HH", head, 6)
        if head.startswith(b"\xff\xd8"):
            return _jpeg(head)
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return _webp(head)
    except (struct.error, IndexError):
        pass  # it ends before it says
    return None


def _pair(layout: str, head: bytes, at: int) -> tuple[int, int]:
    width, height = struct.unpack_from(layout, head, at)
    return int(width), int(height)


def _jpeg(head: bytes) -> tuple[int, int] | None:
    at = 2
    while head[at] == 0xFF:
        kind = head[at + 1]
        if kind in _JPEG_FRAMES:
            height, width = _pair(">HH", head, at + 5)
            return width, height
        at += 2 + int(struct.unpack_from(">H", head, at + 2)[0])
    return None


def _webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8 ":
        width, height = _pair("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = int(struct.unpack_from("<I", head, 21)[0])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None


def _decoded(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text[: len(text) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""
