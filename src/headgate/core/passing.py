"""The requests of rows that pass through to upstreams that have them: responses, messages and others.

Only what the gate needs is named, with its type; all else is the upstream's to judge. Must not know which
upstream a request is for.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Raw, Struct

Many = Annotated[list[Raw], Meta(min_length=1)]

DEFAULT_MODERATION = "omni-moderation-latest"
"""What OpenAI takes where a request names no model."""


class ResponsesRequest(Struct, gc=False):
    """The request of POST /v1/responses."""

    model: str
    input: str | list[Raw] | None = None
    instructions: str | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    stream: bool | None = None

    stream_options: ClassVar[None] = None
    """It has none that concern us: usage comes unasked."""


class MessagesRequest(Struct, gc=False):
    """The request of POST /v1/messages."""

    model: str
    messages: Many
    max_tokens: Annotated[int, Meta(ge=0)]
    stream: bool | None = None

    stream_options: ClassVar[None] = None


class ModerationRequest(Struct, gc=False):
    """The request of POST /v1/moderations."""

    input: str | Many
    model: str = DEFAULT_MODERATION

    stream: ClassVar[bool | None] = None
    stream_options: ClassVar[None] = None


class RerankRequest(Struct, gc=False):
    """The request of POST /v1/rerank."""

    model: str
    query: str
    documents: Many
    top_n: Annotated[int, Meta(ge=1)] | None = None

    stream: ClassVar[bool | None] = None
    stream_options: ClassVar[None] = None


PASSING = (ResponsesRequest, MessagesRequest, ModerationRequest, RerankRequest)
"""All of them."""
