"""Forms as clients send them, written out by hand so that they can be wrong in any way."""

from __future__ import annotations

from collections.abc import Sequence

Part = tuple[str, str | bytes] | tuple[str, bytes, str]
"""A field's name and text; or a file's name, bytes and file name."""

BOUNDARY = "----form-of-a-test"


def form(*parts: Part, boundary: str = BOUNDARY, end: bool = True) -> bytes:
    """A form's body."""
    body = b""
    for part in parts:
        name, data, *filename = part
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if filename:
            body += f'; filename="{filename[0]}"\r\nContent-Type: application/octet-stream'.encode()
        body += b"\r\n\r\n" + (data.encode() if isinstance(data, str) else data) + b"\r\n"
    return body + (f"--{boundary}--\r\n".encode() if end else b"")


def content_type(boundary: str = BOUNDARY) -> str:
    """Its header."""
    return f"multipart/form-data; boundary={boundary}"


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The data in pieces of these sizes, over and over."""
    pieces, start, turn = [], 0, 0
    while start < len(data):
        size = max(1, sizes[turn % len(sizes)])
        pieces.append(data[start : start + size])
        start, turn = start + size, turn + 1
    return pieces
