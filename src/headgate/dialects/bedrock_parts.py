"""Pictures, sounds and documents as Converse's content blocks, and cache points.

Source: docs.aws.amazon.com/bedrock/latest/APIReference (ContentBlock and what is in it). Nothing is fetched:
Converse takes bytes, or what lies in the operator's S3.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core import violation
from headgate.core.errors import InvalidField
from headgate.dialects.data_url import PDF_IN_BASE64, read_data_url
from headgate.dialects.unsupported import Unsupported

Block = dict[str, Any]

PICTURES = {"image/jpeg": "jpeg", "image/png": "png", "image/gif": "gif", "image/webp": "webp"}

SOUNDS = frozenset(
    ("mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm",
     "webm")
)  # fmt: skip

DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}

NAME_CHARACTERS = 200
"""The longest name a document may have there."""

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9\s()\[\]-]+")
_SPACES = re.compile(r"\s+")
_ENDING = re.compile(r"\.([A-Za-z0-9]{1,5})$")


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


def cache_point(cache_control: dict[str, Any]) -> Block:
    """The block that follows what is to be cached; a time to live is kept."""
    ttl = cache_control.get("ttl")
    return {"cachePoint": {"type": "default", **({"ttl": ttl} if isinstance(ttl, str) else {})}}


def media(raw: msgspec.Raw, kind: str, at: str, unsupported: Unsupported, names: set[str]) -> Block:
    """The block for a part of OpenAI's that is not text; raises InvalidField for what cannot be shown.

    `names` are those that the request's documents have so far: there, no two may have the same.
    """
    part = _part(raw)
    if kind == "image_url" and part.image_url is not None:
        if part.image_url.detail not in (None, "auto"):
            unsupported.hint("messages.content.image_url.detail")
        return {"image": _picture(part.image_url.url, f"{at}.image_url.url")}
    if kind == "input_audio" and part.input_audio is not None:
        sound = part.input_audio
        if sound.format not in SOUNDS:
            raise violation.wrong_value(f"{at}.input_audio.format")
        return {"audio": {"format": sound.format, "source": {"bytes": sound.data}}}
    if kind == "file" and part.file is not None:
        return {"document": _document(part.file, f"{at}.file", names)}
    raise violation.wrong_value(f"{at}.type")


def _picture(url: str, at: str) -> Block:
    if url.startswith("s3://"):
        form = {"jpg": "jpeg"}.get(ending := _ending(url), ending)
        if form not in PICTURES.values():
            raise _not_a_picture(at)
        return {"format": form, "source": {"s3Location": {"uri": url}}}
    found = read_data_url(url)
    if found is None:
        raise violation.wrong_value(
            at,
            f"Invalid '{at}': this model fetches nothing; expected a data URL (data:image/...;base64,...).",
        )
    if found.kind not in PICTURES:
        raise _not_a_picture(at)
    return {"format": PICTURES[found.kind], "source": {"bytes": found.base64}}


def _document(file: _File, at: str, names: set[str]) -> Block:
    ending = _ending(file.filename or "")
    name = _name(file.filename or "", names)
    if file.file_id is not None:
        form = _ending(file.file_id)
        if not file.file_id.startswith("s3://") or form not in DOCUMENTS.values():
            raise violation.wrong_value(
                f"{at}.file_id",
                f"Invalid '{at}.file_id': this model knows files by their s3:// address with an ending only.",
            )
        return {"format": form, "name": name, "source": {"s3Location": {"uri": file.file_id}}}
    given = file.file_data or ""
    found = read_data_url(given)
    data = given if found is None else found.base64
    form = DOCUMENTS.get("" if found is None else found.kind, "")
    if not form and ending in DOCUMENTS.values():
        form = ending
    elif not form and data.startswith(PDF_IN_BASE64):
        form = "pdf"
    if not form:
        known = ", ".join(DOCUMENTS.values())
        raise violation.wrong_value(
            f"{at}.file_data",
            f"Invalid '{at}.file_data': this model takes files of these kinds only: {known}.",
        )
    return {"format": form, "name": name, "source": {"bytes": data}}


def _name(filename: str, names: set[str]) -> str:
    """The file's name in the characters that a document's may have, with a number where it is taken."""
    plain = _SPACES.sub(" ", _NOT_IN_A_NAME.sub(" ", _ENDING.sub("", filename))).strip()
    name = plain = plain[: NAME_CHARACTERS - 5].strip() or "document"
    number = 1
    while name in names:
        number += 1
        name = f"{plain} {number}"
    names.add(name)
    return name


def _ending(name: str) -> str:
    found = _ENDING.search(name)
    return found[1].lower() if found else ""


def _not_a_picture(at: str) -> InvalidField:
    return violation.wrong_value(
        at, f"Invalid '{at}': this model takes pictures as JPEG, PNG, GIF or WebP only."
    )
