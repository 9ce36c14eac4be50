"""The pictures of a request to an image engine: read from a form or from JSON, looked at, opened.

Must not know what is painted.
"""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING, TypeVar

import msgspec

from headgate.core import violation
from headgate.core.errors import InvalidField, TooLarge
from headgate.core.image import ImageEditRequest, ImageRef
from headgate.core.multipart import FilePart, FormReader, read_form
from headgate.core.ports import Exchange
from headgate.engines.program import Worker

if TYPE_CHECKING:
    from PIL import Image

    from headgate.engines.canvas import Hole, Pixels

READ_BYTES = 262_144
"""Of a body, taken at a time: parsed in less than a millisecond."""

MEMORY_BYTES = 1_048_576
"""Of all files kept in memory. More goes to a file without a name, which is gone with its last user."""

FILE_BYTES = 50 * 1_048_576
"""Of one picture (OpenAI's document)."""

Request = TypeVar("Request", bound=msgspec.Struct)


class Uploads(msgspec.Struct, frozen=True):
    """The pictures of one request."""

    sources: tuple[Pixels, ...] = ()
    hole: Hole | None = None
    """Where the first is to be painted, as its mask says."""


async def read_uploads(
    exchange: Exchange, request_type: type[Request], fields: dict[str, int], worker: Worker
) -> tuple[Request, Uploads]:
    """A form's request and its pictures; raises ApiError. Nothing stays on the disk, however it ends."""
    with tempfile.SpooledTemporaryFile(MEMORY_BYTES) as file:
        pieces: list[bytes] = []
        reader = FormReader(exchange.header(b"content-type"), pieces.append)
        while data := await exchange.body(READ_BYTES):
            reader.feed(data)
            if pieces:
                await worker.do(file.writelines, pieces)
                pieces.clear()
        form = reader.finish()
        request = read_form(form, request_type, fields)
        return request, await worker.do(_opened, form.files, file)


def read_json_uploads(request: ImageEditRequest) -> Uploads:
    """The pictures of a JSON edit, as data URIs: the gate has fetched whatever was elsewhere. Blocks."""
    images = [
        _look(_data(ref, f"images[{index}].image_url"), f"images[{index}].image_url")
        for index, ref in enumerate(request.images or ())
    ]
    mask = request.mask
    if mask is None:
        return _uploads(images, None)
    if isinstance(mask, str):
        raise violation.wrong_type("mask", "an object", "a string")
    return _uploads(images, _look(_data(mask, "mask.image_url"), "mask"))


def _opened(files: list[FilePart], file: IO[bytes]) -> Uploads:
    images: list[Image.Image] = []
    mask: Image.Image | None = None
    for part in files:
        if part.size > FILE_BYTES:
            raise TooLarge(f"'{part.name}' is larger than {FILE_BYTES // 1_048_576} MiB.", param=part.name)
        file.seek(part.start)
        image = _look(file.read(part.size), part.name)
        if part.name == "mask":
            mask = image
        else:
            images.append(image)
    return _uploads(images, mask)


def _uploads(images: list[Image.Image], mask: Image.Image | None) -> Uploads:
    from headgate.engines.canvas import hole, pixels

    where = hole(mask, images[0].size) if mask is not None else None
    if where is None and len(images) == 1 and images[0].mode == "RGBA":
        # As OpenAI has it: without a mask, what is transparent in the picture itself is edited.
        own = hole(images[0], images[0].size)
        where = own if own.any() else None
    return Uploads(tuple(pixels(image) for image in images), where)


def _look(data: bytes, field: str) -> Image.Image:
    from headgate.engines.canvas import opened
    from headgate.pictures import look

    return opened(look(data, field).data)


def _data(ref: ImageRef, field: str) -> bytes:
    if ref.image_url is None:
        raise InvalidField(
            f"'{field.rpartition('.')[0]}.file_id' is not supported with this model: no files are stored.",
            param=field,
            code="unsupported_parameter",
        )
    from headgate.pictures import unpack

    return unpack(ref.image_url, field)
