"""What names, lists and networks in a record may be. Pure; raises RecordRefused naming the field.

What comes from outside goes through here, so that a text can neither deceive its reader nor fill the disk.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TypeVar

from headgate.core.errors import RecordRefused

Value = TypeVar("Value")

NAME_CHARACTERS = 128
"""Names are for people, and tables of them have to be read."""
TEXT_CHARACTERS = 1024
"""A note, an owner, a URL."""
LIST_ENTRIES = 256
"""Models, scopes, networks of one key."""
PATTERN_CHARACTERS = 256
"""As long as a model's name may be."""
TAGS = 16
"""Each is a sum of its own in every roll-up."""
TAG_CHARACTERS = 64
METADATA_PAIRS = 16
"""Pairs, and characters below, as OpenAI has them for metadata."""
METADATA_KEY_CHARACTERS = 64
METADATA_VALUE_CHARACTERS = 512
LARGEST = 2**63 - 1
"""What a column holds."""


def name(value: str, field: str = "name") -> str:
    """A name in its one normal form: something to see, in one line."""
    return text(value, field, NAME_CHARACTERS, needed=True)


def text(value: str, field: str, most: int = TEXT_CHARACTERS, *, needed: bool = False) -> str:
    """A line of text, composed (NFC), without what cannot be seen: controls, turned writing, odd spaces."""
    value = unicodedata.normalize("NFC", value).strip()
    if needed and not value:
        raise RecordRefused(f"{field}: expected some text")
    if len(value) > most:
        raise RecordRefused(f"{field}: at most {most} characters")
    if not value.isprintable():
        raise RecordRefused(f"{field}: a line of text, without characters that cannot be seen")
    return value


def names(values: Iterable[str] | None, field: str, *, most: int = LIST_ENTRIES) -> tuple[str, ...] | None:
    """A list of names or patterns, each once; None stays None: no restriction."""
    if values is None:
        return None
    found = tuple(dict.fromkeys(text(value, field, PATTERN_CHARACTERS, needed=True) for value in values))
    if len(found) > most:
        raise RecordRefused(f"{field}: at most {most} entries")
    return found


def tags(values: Iterable[str], field: str = "tags") -> tuple[str, ...]:
    """Tags, each once."""
    found = tuple(dict.fromkeys(text(value, field, TAG_CHARACTERS, needed=True) for value in values))
    if len(found) > TAGS:
        raise RecordRefused(f"{field}: at most {TAGS} tags")
    return found


def networks(values: Iterable[str] | None, field: str = "networks") -> tuple[str, ...] | None:
    """Addresses and networks (CIDR) in their normal form; None stays None: from anywhere."""
    if values is None:
        return None
    found = []
    for value in values:
        try:
            found.append(str(ipaddress.ip_network(value.strip(), strict=False)))
        except ValueError:
            raise RecordRefused(f"{field}: expected an address or a network such as 10.0.0.0/8") from None
    if len(found) > LIST_ENTRIES:
        raise RecordRefused(f"{field}: at most {LIST_ENTRIES} entries")
    return tuple(dict.fromkeys(found))


def metadata(values: Mapping[str, str], field: str = "metadata") -> dict[str, str]:
    """Pairs of the operator's own."""
    if len(values) > METADATA_PAIRS:
        raise RecordRefused(f"{field}: at most {METADATA_PAIRS} pairs")
    return {
        text(key, field, METADATA_KEY_CHARACTERS, needed=True): text(value, field, METADATA_VALUE_CHARACTERS)
        for key, value in values.items()
    }


def amount(value: int, field: str, *, least: int = 0) -> int:
    """A whole number that a column holds."""
    if not least <= value <= LARGEST:
        raise RecordRefused(f"{field}: expected a number from {least} to {LARGEST}")
    return value


def patterned(values: Mapping[str, Value], field: str) -> dict[str, Value]:
    """Values by model name or pattern."""
    if len(values) > LIST_ENTRIES:
        raise RecordRefused(f"{field}: at most {LIST_ENTRIES} entries")
    return {text(pattern, field, PATTERN_CHARACTERS, needed=True): value for pattern, value in values.items()}
