"""Pictures in a request that must be at hand, whole and plain, for an upstream that takes them inline only.

Pure: finds them and puts them back. Must not know how they are brought.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from headgate.core.chat import ChatRequest
from headgate.core.errors import InvalidField
from headgate.core.image import ImageEditRequest
from headgate.core.message import Message

MOST_PICTURES = 64
"""In one request: a long conversation has tens. Each is held in memory, decoded once and sent on."""


class PicturesWanted(Exception):
    """Raised by a dialect that takes pictures inline only: it is asked again when they have been brought."""

    prepared: tuple[Any, Any]
    """The call and its target, set by whoever asked the dialect."""


class Spot(msgspec.Struct, frozen=True):
    """Where a picture stands in a request."""

    field: str
    """The name of its URL, for errors."""
    url: str
    detail: str | None
    holder: msgspec.Struct
    """What has the URL in it."""
    name: str
    """Under which name."""

    def put(self, url: str) -> None:
        """Puts another URL in its place."""
        setattr(self.holder, self.name, url)


def has_pictures(request: msgspec.Struct) -> bool:
    """Whether there is anything to be brought."""
    return next(_spots(request), None) is not None


def spots(request: msgspec.Struct) -> list[Spot]:
    """Every picture of a request, in order; raises InvalidField when there are too many."""
    found = [*_spots(request)]
    if len(found) > MOST_PICTURES:
        param = found[MOST_PICTURES].field
        raise InvalidField(
            f"Too many pictures: this model takes {MOST_PICTURES} in one request.",
            param=param,
            code="invalid_value",
        )
    return found


def _spots(request: msgspec.Struct) -> Iterator[Spot]:
    if isinstance(request, ChatRequest):
        for index, message in enumerate(request.messages):
            yield from _of_message(message, f"messages[{index}]")
    elif isinstance(request, ImageEditRequest):
        for index, ref in enumerate(request.images or ()):
            if ref.image_url is not None:
                yield Spot(f"images[{index}].image_url", ref.image_url, None, ref, "image_url")
        if (
            request.mask is not None
            and not isinstance(request.mask, str)
            and request.mask.image_url is not None
        ):
            yield Spot("mask.image_url", request.mask.image_url, None, request.mask, "image_url")


def _of_message(message: Message, at: str) -> Iterator[Spot]:
    if message.content is None or isinstance(message.content, str):
        return
    for place, part in enumerate(message.content):
        picture = part.image_url
        if part.type == "image_url" and picture is not None:
            field = f"{at}.content[{place}].image_url.url"
            yield Spot(field, picture.url, picture.detail, picture, "url")
