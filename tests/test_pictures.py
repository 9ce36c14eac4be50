"""Pictures as people send them, and as nobody should."""

from __future__ import annotations

import io
import struct
import zlib
from base64 import b64decode
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headgate.core.errors import InvalidField
from headgate.pictures import HIGH_DETAIL_SIDE, LOW_DETAIL_SIDE, look

# Pillow warns of odd metadata in what is damaged here on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning")

FIELD = "messages[1].content[0].image_url.url"
RED, BLUE = (255, 0, 0), (0, 0, 255)


def drawn(form: str, size: tuple[int, int] = (40, 20), mode: str = "RGB", **options: Any) -> bytes:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, BLUE)
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    out = io.BytesIO()
    image.convert(mode).save(out, form, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def pixel(data: bytes, x: int, y: int) -> tuple[int, ...]:
    """One pixel: red, green, blue, opacity."""
    seen = opened(data).convert("RGBA").getpixel((x, y))
    assert isinstance(seen, tuple)
    return seen


def why(data: bytes) -> InvalidField:
    with pytest.raises(InvalidField) as error:
        look(data, FIELD)
    assert (error.value.param, error.value.status) == (FIELD, 400)
    return error.value


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_what_every_engine_reads_stays_as_it_is(form: str) -> None:
    data = drawn(form)
    picture = look(data, FIELD)
    assert (picture.data, picture.kind, picture.width, picture.height) == (data, form.lower(), 40, 20)
    head, _, body = picture.data_uri.partition(",")
    assert head == f"data:image/{form.lower()};base64"
    assert b64decode(body) == data


@pytest.mark.parametrize(("form", "mode"), [("WEBP", "RGB"), ("WEBP", "RGBA"), ("GIF", "P")])
def test_the_rest_is_made_into_it(form: str, mode: str) -> None:
    picture = look(drawn(form, mode=mode, lossless=True), FIELD)
    image = opened(picture.data)
    assert image.format == picture.kind.upper()
    assert image.size == (40, 20)
    assert pixel(picture.data, 5, 10)[0] > 240


def test_transparency_survives() -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    out = io.BytesIO()
    image.save(out, "WEBP", lossless=True)
    assert pixel(look(out.getvalue(), FIELD).data, 1, 1)[3] == 0


def test_a_photograph_taken_sideways_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture has to be turned clockwise
    picture = look(drawn("JPEG", exif=exif, quality=95), FIELD)
    assert (picture.width, picture.height) == (20, 40)
    image = opened(picture.data)
    assert image.getexif().get(0x0112, 1) == 1
    assert pixel(picture.data, 10, 5)[0] > 200  # what was left is on top
    assert pixel(picture.data, 10, 35)[2] > 200


@pytest.mark.parametrize(
    ("detail", "side"), [(None, HIGH_DETAIL_SIDE), ("auto", HIGH_DETAIL_SIDE), ("low", LOW_DETAIL_SIDE)]
)
def test_large_pictures_are_scaled_to_what_detail_asks_for(detail: str | None, side: int) -> None:
    picture = look(drawn("PNG", (3000, 1500)), FIELD, detail=detail)
    assert (picture.width, picture.height) == (side, side // 2)
    assert opened(picture.data).size == (side, side // 2)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be vast."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height"), [(30_000, 30_000), (20_001, 1), (1, 20_001), (2**31 - 1, 2**31 - 1)]
)
def test_a_vast_picture_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    assert why(bomb(width, height)).code in ("invalid_value", "image_parse_error")


def test_an_animation_is_refused() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    assert "animated" in why(out.getvalue()).message


@pytest.mark.parametrize(
    "data",
    [
        b"just text",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"\x89PNG",
        b"BM" + b"\0" * 60,
        b"II*\0" + b"\0" * 60,
    ],
)
def test_what_is_no_picture_is_refused_whatever_it_is_called(data: bytes) -> None:
    assert why(data).code == "invalid_image_format"


def test_nothing_is_no_picture() -> None:
    assert "empty" in why(b"").message


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_cut_short_is_refused(form: str) -> None:
    data = drawn(form, (200, 100), "P" if form == "GIF" else "RGB")
    for kept in (0.5, 0.9):
        assert why(data[: int(len(data) * kept)]).code in ("image_parse_error", "invalid_image_format")


@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]), st.data())
def test_any_damage_is_an_error_of_the_field_or_none(form: str, data: st.DataObject) -> None:
    picture = bytearray(drawn(form, mode="P" if form == "GIF" else "RGB"))
    for _ in range(data.draw(st.integers(1, 8))):
        picture[data.draw(st.integers(0, len(picture) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InvalidField):
        look(bytes(picture), FIELD)
