"""Data URLs taken apart: the type, and the base64 as it came, undecoded, since it may be megabytes."""

from __future__ import annotations

import re

import msgspec

_DATA = re.compile(r"data:(?P<type>[A-Za-z0-9.+/-]*)(?:;[^;,]*)*?;base64,", re.IGNORECASE)

PDF_IN_BASE64 = "JVBERi"
"""How `%PDF` begins: some clients leave the type out."""


class Data(msgspec.Struct, frozen=True):
    """What a data URL carries."""

    kind: str
    """Its media type in lower case; empty where it says none."""
    base64: str


def read_data_url(url: str) -> Data | None:
    """The URL's parts, or None for what is no data URL in base64."""
    found = _DATA.match(url)
    if found is None:
        return None
    return Data(found["type"].lower().replace("image/jpg", "image/jpeg"), url[found.end() :])
