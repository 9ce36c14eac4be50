"""AWS's event-stream frames, written here from their layout, so that no parser is tested with its own kind.

Source: docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html. Lengths and checksums are big
endian; a header's value is a string (type 7) in everything that Bedrock sends.
"""

from __future__ import annotations

import json
from binascii import crc32
from pathlib import Path
from struct import pack
from typing import Any


def frame(headers: dict[str, str], body: bytes) -> bytes:
    """One frame."""
    written = b"".join(
        [
            pack(">B", len(name)) + name.encode() + b"\x07" + pack(">H", len(value.encode())) + value.encode()
            for name, value in headers.items()
        ]
    )
    prelude = pack(">II", 16 + len(written) + len(body), len(written))
    start = prelude + pack(">I", crc32(prelude)) + written + body
    return start + pack(">I", crc32(start))


def event_frame(name: str, value: Any) -> bytes:
    """The frame of an event, or of an exception when its name says so."""
    body = json.dumps(value, separators=(",", ":")).encode()
    if name.endswith("Exception"):
        kind = {":exception-type": name, ":message-type": "exception"}
    else:
        kind = {":event-type": name, ":message-type": "event"}
    return frame({**kind, ":content-type": "application/json"}, body)


def frames_of(path: Path) -> bytes:
    """The stream that a file with an event on every line stands for."""
    stream = b""
    for line in path.read_text("utf-8").splitlines():
        [(name, value)] = json.loads(line).items()
        stream += event_frame(name, value)
    return stream
