"""Pixels between a request and a painter: sizes, squares, holes, and the bytes that a picture is told in.

Arrays are [height, width, 3], 8 bits, red, green, blue. Must not know how anything is painted.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headgate.core import violation
from headgate.core.errors import InvalidField

Pixels = NDArray[np.uint8]
Hole = NDArray[np.bool_]
"""[height, width]: where it is to be painted."""

SMALLEST, LARGEST = 16, 2048
"""Sides in pixels that may be asked for; a larger picture takes more memory than it shows."""

DEFAULT_SIDE = 1024
"""Of a picture whose size was left open: OpenAI's default."""

_SIZE = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})")


def read_size(size: str | None, default: tuple[int, int]) -> tuple[int, int]:
    """Width and height of `1024x1536`, or the default for `auto` and none; raises InvalidField."""
    if size is None or size == "auto":
        return default
    found = _SIZE.fullmatch(size)
    if found is not None:
        width, height = int(found[1]), int(found[2])
        if min(width, height) >= SMALLEST and max(width, height) <= LARGEST:
            return width, height
    raise violation.wrong_value(
        "size",
        f"Invalid value: '{violation.quote(size)}'. Supported values are: 'auto', and WIDTHxHEIGHT with "
        f"sides from {SMALLEST} to {LARGEST} pixels, such as '1024x1024'.",
    )


def opened(data: bytes) -> Image.Image:
    """A picture that was looked at already (`media.pictures` or its like), with what it shows through."""
    image = Image.open(io.BytesIO(data))
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def pixels(image: Image.Image) -> Pixels:
    """What is seen of it, on white where it lets something show through."""
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def hole(mask: Image.Image, size: tuple[int, int]) -> Hole:
    """Where a mask is fully transparent, which is where it is to be painted; raises InvalidField."""
    if mask.size != size:
        raise InvalidField(
            f"Invalid mask image: it has {mask.width}x{mask.height} pixels and the image "
            f"{size[0]}x{size[1]}; both must be of the same size.",
            param="mask",
            code="invalid_value",
        )
    if mask.mode != "RGBA":
        raise InvalidField(
            "Invalid mask image: it has no alpha channel. Where it is transparent, the image is edited.",
            param="mask",
            code="invalid_value",
        )
    clear: Hole = np.asarray(mask)[:, :, 3] == 0
    return clear


def scaled(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """The picture at another width and height."""
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def shrunk(where: Hole, size: tuple[int, int]) -> Hole:
    """A hole at a smaller size: open wherever any of it was."""
    shades = Image.fromarray(where.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    return np.asarray(shades) > 0


def squared(picture: Pixels) -> Pixels:
    """The picture in the middle of a square, its edges drawn out to fill it."""
    height, width = picture.shape[:2]
    side = max(width, height)
    above, left = (side - height) // 2, (side - width) // 2
    around = ((above, side - height - above), (left, side - width - left))
    return np.pad(picture, (*around, *((0, 0),) * (picture.ndim - 2)), mode="edge")


def fitted(square: Pixels, size: tuple[int, int]) -> Pixels:
    """A painted square at the size that was asked for: whole, its edges drawn out where that is wider."""
    width, height = size
    side = min(width, height)
    picture = scaled(square, (side, side))
    above, left = (height - side) // 2, (width - side) // 2
    return np.pad(picture, ((above, height - side - above), (left, width - side - left), (0, 0)), mode="edge")


def cut_out(square: Pixels, size: tuple[int, int]) -> Pixels:
    """The middle of a square, in the shape of what was put there by `squared`, at its size."""
    width, height = size
    side = max(width, height)
    picture = scaled(square, (side, side))
    above, left = (side - height) // 2, (side - width) // 2
    return picture[above : above + height, left : left + width]


def side_by_side(pictures: Sequence[Pixels]) -> Pixels:
    """Several pictures of one height as one."""
    return pictures[0] if len(pictures) == 1 else np.concatenate(pictures, axis=1)


def told(picture: Pixels, form: str, compression: int) -> bytes:
    """The bytes of a picture as `png`, `jpeg` or `webp`; at a `compression` of 100 most is kept of it."""
    out = io.BytesIO()
    image = Image.fromarray(picture)
    if form == "png":
        image.save(out, "PNG")
    else:
        image.save(out, form.upper(), quality=max(1, compression))
    return out.getvalue()
