"""Kinds of values that several tables of the settings share: names, times."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
        description="a name of up to 64 letters, digits, `.`, `_` and `-` that begins with a letter or digit",
    ),
]
"""Names become parts of file names, metrics and journal records, so they are plain."""

ModelName = Annotated[
    str,
    Meta(
        pattern=r"^[^\s\x00-\x1f\x7f]{1,256}\Z",
        description="a model name of up to 256 characters without spaces",
    ),
]
"""What clients write under `model`; slashes, colons and any script are fine."""

Milliseconds = Annotated[int, Meta(ge=1, le=24 * HOUR_MS)]
"""A time limit: never zero, which would refuse everything, and at most a day."""
