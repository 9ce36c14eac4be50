"""The requests of POST /v1/audio/transcriptions and /v1/audio/translations: fields, types, ranges.

They come as forms (`core.multipart`); a file stands here as its name. What a model can do is its own to say.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from headgate.core import violation
from headgate.core.chat import StreamOptions

UPLOADS = {"file": 1}
"""Fields that hold files, and how many each."""

Temperature = Annotated[float, Meta(ge=0, le=1)]


class Vad(Struct, gc=False):
    """How speech is told from silence."""

    type: str
    prefix_padding_ms: Annotated[int, Meta(ge=0)] | None = None
    silence_duration_ms: Annotated[int, Meta(ge=0)] | None = None
    threshold: Annotated[float, Meta(ge=0, le=1)] | None = None


class TranscriptionRequest(Struct, gc=False):
    """A request to write down what is said; a bad combination raises InvalidField."""

    file: str
    model: str
    language: str | None = None
    languages: Annotated[list[str], Meta(min_length=1)] | None = None
    keywords: list[str] | None = None
    prompt: str | None = None
    response_format: str | None = None
    temperature: Temperature | None = None
    include: list[str] | None = None
    timestamp_granularities: list[str] | None = None
    stream: bool | None = None
    chunking_strategy: Vad | str | None = None
    known_speaker_names: Annotated[list[str], Meta(max_length=4)] | None = None
    known_speaker_references: Annotated[list[str], Meta(max_length=4)] | None = None

    stream_options: ClassVar[StreamOptions] = StreamOptions(include_usage=True)
    """Its events end with usage whether it is asked for or not."""

    def __post_init__(self) -> None:
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise violation.wrong_value(
                "timestamp_granularities",
                "'timestamp_granularities' is only supported with 'response_format' of 'verbose_json'.",
            )


class TranslationRequest(Struct, gc=False):
    """A request to write down in English what is said."""

    file: str
    model: str
    prompt: str | None = None
    response_format: str | None = None
    temperature: Temperature | None = None

    stream: ClassVar[bool | None] = None
    stream_options: ClassVar[None] = None
