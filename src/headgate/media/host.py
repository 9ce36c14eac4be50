"""Turns pictures that replies draw into links: megabytes of base64 in one line break common clients.

Must not know which reply a picture belongs to.
"""

from __future__ import annotations

import logging
from base64 import b64decode
from binascii import Error as Base64Error

from headgate.core.errors import StoreError
from headgate.media.shelf import KINDS, Shelf

log = logging.getLogger(__name__)

PATH = "/media/"
"""Where links lead to, on the gate itself."""

_ENDINGS = {kind: ending for ending, kind in KINDS.items()}


class Host:
    """Implements `headgate.core.ports.Call.host`."""

    def __init__(self, shelf: Shelf, base_url: str) -> None:
        """`base_url` is how clients reach the gate, without a slash at its end."""
        self._shelf = shelf
        self._base_url = base_url

    def __call__(self, kind: str, base64: str) -> str:
        """A link to a picture; the picture itself in a data URL where it cannot be kept."""
        ending = _ENDINGS.get(kind)
        if ending is not None:
            try:
                name = self._shelf.place(b64decode(base64, validate=True), ending)
            except (Base64Error, ValueError):
                pass  # not ours to judge: the client gets what came
            except StoreError as error:
                log.error("%s", error)
            else:
                return f"{self._base_url}{PATH}{name}"
        return f"data:{kind};base64,{base64}"
