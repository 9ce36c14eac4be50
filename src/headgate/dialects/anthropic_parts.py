"""Pictures and documents as Anthropic's content blocks, and cache marks.

Sources: platform.claude.com/docs/en/build-with-claude/vision and .../pdf-support. Nothing is fetched here.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core import violation
from headgate.core.errors import InvalidField
from headgate.dialects.unsupported import Unsupported

Block = dict[str, Any]

PICTURES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))

_DATA = re.compile(r"data:(?P<type>[A-Za-z0-9.+/-]*)(?:;[^;,]*)*?;base64,", re.IGNORECASE)


class _Url(Struct):
    url: str
    detail: str | None = None


class _File(Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class _Part(Struct):
    image_url: _Url | None = None
    file: _File | None = None


_part = msgspec.json.Decoder(_Part).decode


def mark(block: Block, cache_control: dict[str, Any] | None) -> Block:
    """The block, with a cache mark where one was given."""
    if cache_control is not None:
        block["cache_control"] = cache_control
    return block


def media(raw: msgspec.Raw, kind: str, at: str, unsupported: Unsupported) -> Block:
    """The block for a part of OpenAI's that is not text; raises InvalidField for what cannot be shown."""
    part = _part(raw)
    if kind == "image_url" and part.image_url is not None:
        if part.image_url.detail not in (None, "auto"):
            unsupported.hint("messages.content.image_url.detail")
        return {"type": "image", "source": _picture(part.image_url.url, f"{at}.image_url.url")}
    if kind == "file" and part.file is not None:
        return _document(part.file, f"{at}.file")
    raise violation.wrong_value(
        f"{at}.type",
        f"Invalid value: '{violation.quote(kind)}'. This model supports content of type 'text', 'image_url' "
        "and 'file'.",
    )


def _picture(url: str, at: str) -> Block:
    if url.startswith("https://"):
        return {"type": "url", "url": url}
    found = _DATA.match(url)
    if found is None:
        raise violation.wrong_value(
            at, f"Invalid '{at}': expected an https URL or a data URL (data:image/...;base64,...)."
        )
    kind = found["type"].lower().replace("image/jpg", "image/jpeg")
    if kind not in PICTURES:
        raise violation.wrong_value(
            at, f"Invalid '{at}': this model takes pictures as JPEG, PNG, GIF or WebP only."
        )
    return {"type": "base64", "media_type": kind, "data": url[found.end() :]}


def _document(file: _File, at: str) -> Block:
    title = {"title": file.filename} if file.filename else {}
    if file.file_id is not None:
        return {"type": "document", "source": {"type": "file", "file_id": file.file_id}, **title}
    given = file.file_data or ""
    found = _DATA.match(given)
    kind = found["type"].lower() if found else ""
    data = given[found.end() :] if found else given
    if kind == "text/plain":
        source = {"type": "text", "media_type": kind, "data": _text(data, f"{at}.file_data")}
    elif kind == "application/pdf" or (not kind and data.startswith("JVBERi")):
        # The second is how base64 of `%PDF` begins: some clients leave the type out.
        source = {"type": "base64", "media_type": "application/pdf", "data": data}
    else:
        raise _not_a_document(f"{at}.file_data")
    return {"type": "document", "source": source, **title}


def _text(data: str, at: str) -> str:
    try:
        return b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise _not_a_document(at) from None


def _not_a_document(at: str) -> InvalidField:
    return violation.wrong_value(at, f"Invalid '{at}': this model takes files as PDF or plain text only.")
