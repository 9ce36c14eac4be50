"""Body to checked request: types and ranges of the fields we know, before anything is spent."""

from __future__ import annotations

from typing import Protocol

import msgspec

from headgate.core.body import open_body
from headgate.core.endpoint import Endpoint


class StreamOptions(Protocol):
    """What a client may ask of a stream."""

    include_usage: bool | None


class ModelRequest(Protocol):
    """What the gateway reads of every request that names a model."""

    model: str
    stream: bool | None
    stream_options: StreamOptions | None


class Admitted(msgspec.Struct):
    """A request that may go on. Do not keep it: `fields` point into the body."""

    request: msgspec.Struct
    fields: dict[str, msgspec.Raw]
    model: str
    stream: bool
    wants_usage: bool
    """The client itself asked for a final usage chunk."""
    body_bytes: int
    abridged: bool = False
    """Long runs of base64 are cut out of it; see `core.cut`."""


def admit(endpoint: Endpoint, body: bytes) -> Admitted:
    """Checks a request body; raises BadRequest."""
    assert endpoint.request is not None
    request, fields = open_body(body, endpoint.request)
    known: ModelRequest = request  # type: ignore[assignment]  # a cast would be a call
    stream = known.stream is True
    options = known.stream_options if stream else None
    wants_usage = options is not None and options.include_usage is True
    return Admitted(request, fields, known.model, stream, wants_usage, len(body))
