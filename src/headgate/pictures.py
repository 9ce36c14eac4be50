"""Looks at pictures: what they really are, how large, whether whole; and makes them fit for an engine.

Names and declared types are not believed, the bytes are. Everything here blocks: callers use a thread. Must
not know where a picture came from, nor where it goes.
"""

from __future__ import annotations

import io
import struct
from base64 import b64decode, b64encode

import msgspec
from PIL import Image, ImageOps, UnidentifiedImageError

from headgate.core.errors import InvalidField
from headgate.dialects.data_url import read_data_url

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
"""What OpenAI takes. Each further decoder is more code that strangers' bytes run through."""

KEPT_FORMATS = ("PNG", "JPEG")
"""What every engine reads."""

PIXELS = 50_000_000
"""A camera's 48 megapixels. Decoded it is 200 MB, so a few at once are no danger."""

SIDE = 20_000
"""Pixels. Longer than any real picture, shorter than what overflows somebody's arithmetic."""

LOW_DETAIL_SIDE = 512
"""Longest side in pixels that `detail: low` asks to be looked at, as OpenAI documents it."""

HIGH_DETAIL_SIDE = 2048
"""Longest side in pixels that `detail: high` is scaled to, as OpenAI documents it."""

JPEG_QUALITY = 92

_ORIENTATION = 0x0112

# Sizes are judged here, right after opening and before decoding. Pillow's own limit only warns at first.
Image.MAX_IMAGE_PIXELS = None


class Picture(msgspec.Struct, frozen=True):
    """A picture that has been decoded once, so it is whole."""

    data: bytes
    kind: str
    """`png` or `jpeg`."""
    width: int
    height: int

    @property
    def data_uri(self) -> str:
        """The picture as engines take it."""
        return f"data:image/{self.kind};base64,{b64encode(self.data).decode()}"


def unpack(url: str, field: str) -> bytes:
    """The bytes of a data URL in base64; raises InvalidField with `field` as its param for anything else."""
    found = read_data_url(url)
    if found is None:
        raise _bad(field, "expected a data URI with base64 in it (data:image/...;base64,...)")
    try:
        return b64decode(found.base64, validate=True)
    except ValueError:
        raise _bad(field, "expected base64 after the comma", "invalid_base64") from None


def look(data: bytes, field: str, *, detail: str | None = None) -> Picture:
    """A picture fit for an engine: PNG or JPEG, upright, not larger than `detail` calls for.

    Raises InvalidField with `field` as its param for what is no picture, is broken, animated or too large.
    """
    if not data:
        raise _bad(field, "the picture is empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _fit(image, data, field, detail)
    except UnidentifiedImageError:
        raise _bad(field, "expected a PNG, JPEG, WebP or GIF picture", "invalid_image_format") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error):
        # What Pillow's decoders raise for bytes that are cut short or make no sense.
        raise _bad(field, "the picture is broken or cut short", "image_parse_error") from None


def _fit(image: Image.Image, data: bytes, field: str, detail: str | None) -> Picture:
    width, height = image.size
    if width > SIDE or height > SIDE or width * height > PIXELS:
        raise _bad(field, f"the picture has {width} x {height} pixels; at most {PIXELS:,} are taken")
    if getattr(image, "n_frames", 1) > 1:
        raise _bad(field, "animated pictures are not supported")
    turned = image.getexif().get(_ORIENTATION, 1) != 1
    image.load()
    side = LOW_DETAIL_SIDE if detail == "low" else HIGH_DETAIL_SIDE
    if image.format in KEPT_FORMATS and not turned and max(width, height) <= side:
        return Picture(data, image.format.lower(), width, height)
    upright = ImageOps.exif_transpose(image)
    if max(upright.size) > side:
        upright.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _written(upright)


def _written(image: Image.Image) -> Picture:
    out = io.BytesIO()
    if image.mode in ("RGB", "L", "CMYK", "YCbCr"):
        image.convert("RGB").save(out, "JPEG", quality=JPEG_QUALITY)
        return Picture(out.getvalue(), "jpeg", *image.size)
    image.convert("RGBA" if image.has_transparency_data else "RGB").save(out, "PNG")
    return Picture(out.getvalue(), "png", *image.size)


def _bad(field: str, why: str, code: str = "invalid_value") -> InvalidField:
    return InvalidField(f"Invalid '{field}': {why}.", param=field, code=code)
