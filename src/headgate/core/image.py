"""The requests of POST /v1/images/generations, /edits and /variations: fields, types, documented ranges.

Which sizes, formats and qualities there are is the model's to say. Edits and variations come as forms
(`core.multipart`), where a file stands as its name; an edit may come as JSON too, its pictures as URLs.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from headgate.core import violation
from headgate.core.chat import StreamOptions

MOST_PICTURES = 16
"""In one edit (OpenAI's document)."""

EDIT_UPLOADS = {"image": MOST_PICTURES, "mask": 1}
VARIATION_UPLOADS = {"image": 1}
"""Fields that hold files, and how many each."""

OWN_DEFAULT = "dall-e-2"
"""The model of a request that names none, as OpenAI documents it."""

MOST_CHARACTERS = 32_000
Prompt = Annotated[str, Meta(min_length=1, max_length=MOST_CHARACTERS)]
Count = Annotated[int, Meta(ge=1, le=10)]
Percent = Annotated[int, Meta(ge=0, le=100)]
Partials = Annotated[int, Meta(ge=0, le=3)]

_USAGE = StreamOptions(include_usage=True)


class ImageRef(Struct, gc=False):
    """A picture of a JSON request."""

    image_url: str | None = None
    file_id: str | None = None


class ImageRequest(Struct, gc=False):
    """A request to draw a picture."""

    prompt: Prompt
    model: str = OWN_DEFAULT
    n: Count | None = None
    size: str | None = None
    quality: str | None = None
    style: str | None = None
    response_format: str | None = None
    output_format: str | None = None
    output_compression: Percent | None = None
    background: str | None = None
    moderation: str | None = None
    stream: bool | None = None
    partial_images: Partials | None = None
    user: str | None = None
    seed: int | None = None
    """Not OpenAI's: the same one draws the same picture, where the model can."""

    stream_options: ClassVar[StreamOptions] = _USAGE
    """Its events end with usage whether it is asked for or not."""


class ImageEditRequest(Struct, gc=False):
    """A request to change one picture or several; raises InvalidField when there is none."""

    prompt: Prompt
    model: str = OWN_DEFAULT
    image: str | Annotated[list[str], Meta(min_length=1, max_length=MOST_PICTURES)] | None = None
    """Names of uploaded files."""
    images: Annotated[list[ImageRef], Meta(min_length=1, max_length=MOST_PICTURES)] | None = None
    """The same of a JSON request."""
    mask: str | ImageRef | None = None
    n: Count | None = None
    size: str | None = None
    quality: str | None = None
    response_format: str | None = None
    output_format: str | None = None
    output_compression: Percent | None = None
    background: str | None = None
    moderation: str | None = None
    input_fidelity: str | None = None
    stream: bool | None = None
    partial_images: Partials | None = None
    user: str | None = None
    seed: int | None = None

    stream_options: ClassVar[StreamOptions] = _USAGE

    def __post_init__(self) -> None:
        if not self.image and not self.images:
            raise violation.missing("image")


class ImageVariationRequest(Struct, gc=False):
    """A request for pictures like one that is given."""

    image: str
    model: str = OWN_DEFAULT
    n: Count | None = None
    size: str | None = None
    response_format: str | None = None
    user: str | None = None
    seed: int | None = None

    stream: ClassVar[bool | None] = None
    stream_options: ClassVar[None] = None
