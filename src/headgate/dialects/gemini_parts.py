"""Pictures, sounds and documents as Gemini's parts.

Source: ai.google.dev/gemini-api/docs/file-input-methods and .../image-understanding. Nothing is fetched.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core import violation
from headgate.dialects.unsupported import Unsupported

Part = dict[str, Any]

TYPES_BY_ENDING = {
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "pdf": "application/pdf",
    "png": "image/png",
    "webp": "image/webp",
}
"""A URL says what it leads to by its ending, if at all; Gemini looks for itself where nothing is said."""

_DATA = re.compile(r"data:(?P<type>[A-Za-z0-9.+/-]*)(?:;[^;,]*)*?;base64,", re.IGNORECASE)
_ENDING = re.compile(r"https://[^/?#]*/[^?#]*\.([A-Za-z]+)(?:[?#]|$)")
_PDF_IN_BASE64 = "JVBERi"
"""How `%PDF` begins: some clients leave the type out."""


class _Url(Struct):
    url: str
    detail: str | None = None


class _Sound(Struct):
    data: str
    format: str


class _File(Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class _Part(Struct):
    image_url: _Url | None = None
    input_audio: _Sound | None = None
    file: _File | None = None


_part = msgspec.json.Decoder(_Part).decode


def media(raw: msgspec.Raw, kind: str, at: str, unsupported: Unsupported) -> Part:
    """The part for one of OpenAI's that is not text; raises InvalidField for what cannot be shown."""
    part = _part(raw)
    if kind == "image_url" and part.image_url is not None:
        if part.image_url.detail not in (None, "auto"):
            unsupported.hint("messages.content.image_url.detail")
        return _picture(part.image_url.url, f"{at}.image_url.url")
    if kind == "input_audio" and part.input_audio is not None:
        return _inline(f"audio/{part.input_audio.format}", part.input_audio.data)
    if kind == "file" and part.file is not None:
        return _document(part.file, f"{at}.file")
    raise violation.wrong_value(f"{at}.type")


def _picture(url: str, at: str) -> Part:
    if url.startswith("https://"):
        return _linked(url)
    found = _DATA.match(url)
    if found is None:
        raise violation.wrong_value(
            at, f"Invalid '{at}': expected an https URL or a data URL (data:image/...;base64,...)."
        )
    kind = found["type"].lower().replace("image/jpg", "image/jpeg")
    if not kind.startswith("image/"):
        raise violation.wrong_value(at, f"Invalid '{at}': expected a picture (data:image/...;base64,...).")
    return _inline(kind, url[found.end() :])


def _document(file: _File, at: str) -> Part:
    if file.file_id is not None:
        # Gemini's uploads are known by their address, and it takes that of any public file.
        if not file.file_id.startswith("https://"):
            raise violation.wrong_value(
                f"{at}.file_id", f"Invalid '{at}.file_id': this model knows files by their https URL only."
            )
        return _linked(file.file_id)
    given = file.file_data or ""
    found = _DATA.match(given)
    kind = found["type"].lower() if found else ""
    data = given[found.end() :] if found else given
    if not kind and data.startswith(_PDF_IN_BASE64):
        kind = "application/pdf"
    if not kind:
        raise violation.wrong_value(
            f"{at}.file_data",
            f"Invalid '{at}.file_data': expected a data URL (data:application/pdf;base64,...).",
        )
    return _inline(kind, data)


def _inline(kind: str, data: str) -> Part:
    return {"inlineData": {"mimeType": kind, "data": data}}


def _linked(url: str) -> Part:
    data = {"fileUri": url}
    found = _ENDING.match(url)
    if found is not None and found[1].lower() in TYPES_BY_ENDING:
        data["mimeType"] = TYPES_BY_ENDING[found[1].lower()]
    return {"fileData": data}
