"""Body to checked request: types and ranges of the fields we know, before anything is spent."""

from __future__ import annotations

from typing import Protocol

from headgate.core.body import open_body
from headgate.core.endpoint import Endpoint
from headgate.core.ports import Call


class StreamOptions(Protocol):
    """What a client may ask of a stream."""

    include_usage: bool | None


class ModelRequest(Protocol):
    """What the gateway reads of every request that names a model."""

    model: str
    stream: bool | None
    stream_options: StreamOptions | None


def admit(endpoint: Endpoint, body: bytes, request_id: str = "") -> Call:
    """Checks a request body; raises BadRequest. What is not known yet (where it goes) is left empty."""
    assert endpoint.request is not None
    request, fields = open_body(body, endpoint.request)
    known: ModelRequest = request  # type: ignore[assignment]  # a cast would be a call
    options = known.stream_options if known.stream else None
    return Call(
        endpoint,
        request,
        fields,
        known.stream is True,
        options is not None and options.include_usage is True,
        "",
        0,
        False,
        request_id,
        model=known.model,
        body_bytes=len(body),
    )
