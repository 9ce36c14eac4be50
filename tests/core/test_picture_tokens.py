"""Pictures' tokens, against OpenAI's published examples; sizes, against pictures made by Pillow."""

from __future__ import annotations

import base64
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headgate.core.picture_tokens import UNSEEN_TOKENS, of_size, of_url, pixels


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [(1024, 1024, 765), (2048, 4096, 1105), (512, 512, 255), (1, 1, 255), (8000, 20, 85 + 4 * 170)],
)
def test_openais_own_examples(width: int, height: int, tokens: int) -> None:
    assert of_size(width, height) == tokens


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_no_picture_is_more_than_one_that_is_not_seen(width: int, height: int) -> None:
    assert 255 <= of_size(width, height) <= UNSEEN_TOKENS


def made(kind: str, width: int, height: int, **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (1, 2, 3)).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("GIF", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "comment": b"x" * 300}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"lossless": False}),
        ("WEBP", {"exif": b"Exif\0\0MM"}),
    ],
)
def test_the_size_is_read_from_the_first_bytes(kind: str, options: dict[str, object]) -> None:
    data = made(kind, 640, 1030, **options)
    assert pixels(data[:2000]) == (640, 1030)
    url = f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"
    assert of_url(url, "high") == of_size(640, 1030)
    assert of_url(url, "low") == 85


@given(st.binary(max_size=200))
def test_any_bytes_have_a_size_or_none(data: bytes) -> None:
    for head in (data, b"\x89PNG\r\n\x1a\n" + data, b"\xff\xd8\xff" + data, b"RIFF0000WEBPVP8X" + data):
        found = pixels(head)
        assert found is None or len(found) == 2
