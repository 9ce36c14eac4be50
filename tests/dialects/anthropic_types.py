"""Whether the official `anthropic` SDK's types have a request: every field of it, and none besides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from pydantic import TypeAdapter

_whole = TypeAdapter[Any](MessageCreateParamsNonStreaming)
_streamed = TypeAdapter[Any](MessageCreateParamsStreaming)


def accepted(body: dict[str, Any]) -> None:
    """Fails when the types do not have this body; a field that they do not know counts."""
    found = (_streamed if body.get("stream") else _whole).validate_python(body)
    # What is not known is left out by the validation.
    assert _plain(found) == body


def _plain(value: Any) -> Any:
    """Lists are read lazily there, each item validated when it is asked for."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return value
