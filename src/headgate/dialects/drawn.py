"""Pictures that a model draws, in both shapes that clients know: Markdown in the content, and `images`.

Must not know whose model it is, nor where pictures are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headgate.core.ports import Framing
from headgate.core.sse import LargeEventSplitter

Host = Callable[[str, str], str]
"""Media type and base64 to URL; see `core.ports.Call.host`."""

PICTURES = Framing(b"text/event-stream", LargeEventSplitter)
"""How streams with pictures in them are written."""

BREAK = "\n\n"
"""Between words and a picture: a paragraph of its own."""

_text = msgspec.json.Decoder(str).decode


def url_of(kind: str, base64: msgspec.Raw, host: Host | None) -> str:
    """Where the picture can be had; raises msgspec.DecodeError for what is no JSON string."""
    data = _text(base64)
    return f"data:{kind};base64,{data}" if host is None else host(kind, data)


def image(url: str, index: int) -> dict[str, Any]:
    """An entry of `images`."""
    return {"type": "image_url", "image_url": {"url": url}, "index": index}


def markdown(url: str) -> str:
    """The same as part of the content."""
    return f"![image]({url})"
