"""The request of POST /v1/audio/speech: fields, types and documented ranges.

Which voices and formats there are is the model's to say. Must not know which upstream the request is for.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from headgate.core.chat import StreamOptions, Voice

MOST_CHARACTERS = 4096
"""Of a text, and of instructions (OpenAI's document)."""


class SpeechRequest(Struct, gc=False):
    """A request to read a text aloud."""

    model: str
    input: Annotated[str, Meta(min_length=1, max_length=MOST_CHARACTERS)]
    voice: str | Voice
    response_format: str | None = None
    speed: Annotated[float, Meta(ge=0.25, le=4)] | None = None
    instructions: Annotated[str, Meta(max_length=MOST_CHARACTERS)] | None = None
    stream_format: str | None = None

    stream_options: ClassVar[StreamOptions] = StreamOptions(include_usage=True)
    """Its events end with usage whether it is asked for or not."""

    @property
    def stream(self) -> bool:
        """Whether the audio comes as events; it comes as it is made either way."""
        return self.stream_format == "sse"

    @property
    def voice_name(self) -> str:
        """The voice, however it was named."""
        return self.voice if isinstance(self.voice, str) else self.voice.id
