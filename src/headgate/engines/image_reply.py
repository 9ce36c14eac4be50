"""What an image engine replies: OpenAI's objects and events, and what usage counts.

Must not know how pictures are painted or encoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from headgate.core.image import ImageEditRequest, ImageRequest, ImageVariationRequest

if TYPE_CHECKING:
    from headgate.engines.painting import Wish

Request = ImageRequest | ImageEditRequest | ImageVariationRequest

PATCH_PIXELS = 256
"""A token of a picture, 16 x 16 pixels, as many models cut them; what usage counts in."""


class Datum(msgspec.Struct, omit_defaults=True):
    """One picture of a reply."""

    b64_json: str | None = None
    url: str | None = None


class Usage(msgspec.Struct):
    """Tokens in and out."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: dict[str, int]


class Reply(msgspec.Struct):
    """A whole reply."""

    created: int
    data: list[Datum]
    background: str
    output_format: str
    size: str
    quality: str
    usage: Usage


class Event(msgspec.Struct, omit_defaults=True):
    """One event of a stream."""

    type: str
    b64_json: str
    created_at: int
    size: str
    quality: str
    background: str
    output_format: str
    partial_image_index: int | None = None
    usage: Usage | None = None

    def written(self) -> bytes:
        """The event as it is sent."""
        return b"event: %b\ndata: %b\n\n" % (self.type.encode(), msgspec.json.encode(self))


def said(request: Request, name: str, default: str) -> str:
    """What a request says of something, or the default."""
    return getattr(request, name, None) or default


def about(request: Request, wish: Wish) -> dict[str, Any]:
    """What a reply tells of its pictures."""
    quality = said(request, "quality", "auto")
    return {
        "background": "opaque",
        "output_format": said(request, "output_format", "png"),
        "size": f"{wish.width}x{wish.height}",
        "quality": "medium" if quality == "auto" else quality,
    }


def usage(request: Request, wishes: list[Wish]) -> Usage:
    """Tokens: of text its bytes, as the starter reads them; of pictures their patches."""
    text = len(getattr(request, "prompt", "").encode())
    seen = sum(source.shape[0] * source.shape[1] for source in wishes[0].sources) // PATCH_PIXELS
    painted = sum(wish.width * wish.height for wish in wishes) // PATCH_PIXELS
    details = {"text_tokens": text, "image_tokens": seen}
    return Usage(text + seen, painted, text + seen + painted, details)


def moments(steps: int, partials: int) -> set[int]:
    """After which steps a partial picture is shown: evenly spread, and never the last."""
    return {max(1, steps * (number + 1) // (partials + 1)) for number in range(partials)} - {steps}
