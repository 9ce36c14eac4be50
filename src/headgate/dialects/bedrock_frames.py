"""Bedrock's streams come in binary frames; here they become events with one line of JSON, as others send.

Source: docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html (the frames' layout, which is
AWS's for all its streams). Lengths, headers and checksums are read by botocore's own parser.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core.errors import SettingsError, UpstreamFailed

CONTENT_TYPE = b"application/vnd.amazon.eventstream"

INSTALL = "pip install 'headgate[bedrock]'"

FRAME_BYTES = 33_554_432
"""Longest unfinished frame that is kept: botocore's parser takes 24 MiB and the headers."""

_encode = msgspec.json.Encoder().encode


def load_parser() -> Any:
    """Botocore's module for frames; raises SettingsError with the command that installs it."""
    try:
        import botocore.eventstream  # noqa: PLC0415  # optional, and 15 ms of start that nobody else needs
    except ImportError:
        raise SettingsError(f"this dialect needs botocore: {INSTALL}") from None
    return botocore.eventstream


class FrameSplitter:
    """Cuts a stream of frames, whatever the sizes in which it arrives; see `core.ports.Splitter`.

    A frame `contentBlockDelta` with `{...}` comes out as `data: {"contentBlockDelta":{...}}`, an exception
    under its name too, as the union that the API's documents show.
    """

    __slots__ = ("_buffer", "_errors", "_pending_bytes")

    def __init__(self) -> None:
        parser = load_parser()
        self._buffer = parser.EventStreamBuffer()
        self._errors = parser.ParserError
        self._pending_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """The events of all frames that are complete; raises UpstreamFailed for what is no frame."""
        self._pending_bytes += len(data)
        self._buffer.add_data(data)
        made: list[bytes] = []
        try:
            for frame in self._buffer:
                self._pending_bytes -= frame.prelude.total_length
                made.append(_event(frame.headers, frame.payload))
        except (self._errors, KeyError, UnicodeDecodeError, ValueError):
            # A checksum or a length that is wrong: what follows cannot be trusted to begin a frame.
            raise UpstreamFailed("The upstream's stream is damaged.") from None
        if self._pending_bytes > FRAME_BYTES:
            raise UpstreamFailed("The upstream sent an event that is too large to be translated.")
        return b"".join(made)

    @property
    def oversized(self) -> bool:
        """Never: a frame that is too long raises."""
        return False

    def take_raw(self) -> bytes:
        """Nothing: no frame passes as it is."""
        return b""

    @property
    def tail(self) -> bytes:
        """Nothing: half a frame is no event, and a stream that ends in one has broken off."""
        return b""


def _event(headers: dict[str, Any], payload: bytes) -> bytes:
    kind = headers.get(":message-type")
    if kind == "error":
        # Without a payload: what went wrong stands in the headers.
        code = headers.get(":error-code", "error")
        return b"data: %b\n\n" % _encode({"exception": {"code": str(code)}})
    name = headers.get(":exception-type" if kind == "exception" else ":event-type")
    if kind not in ("event", "exception") or not isinstance(name, str) or not name.isalnum():
        return b""
    # White space is the only place where JSON may have line ends, and a line of data has none.
    line = payload.replace(b"\n", b" ").replace(b"\r", b" ").strip() or b"{}"
    return b'data: {"%b":%b}\n\n' % (name.encode(), line)
