"""Brings a picture to whoever wants it inline: fetched or unpacked, looked at, made fit for an engine.

Must not know which request it belongs to.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from binascii import Error as Base64Error
from concurrent.futures import ThreadPoolExecutor

from headgate.core import violation
from headgate.core.errors import InvalidField
from headgate.media.fetch import Fetcher
from headgate.pictures import look

THREADS = 2
"""Pictures that are decoded at once: one is up to 200 MB while that lasts."""


class Bringer:
    """Implements `headgate.core.ports.Bring`."""

    def __init__(self, fetcher: Fetcher | None) -> None:
        """Without a fetcher only data URIs are taken."""
        self._fetcher = fetcher
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pictures")

    async def __call__(self, url: str, field: str, detail: str | None) -> str:
        """A picture as a data URI that every engine reads; raises InvalidField for `field`."""
        fetched: bytes | None = None
        if not url.startswith("data:"):
            if self._fetcher is None:
                raise violation.wrong_value(
                    field, f"Invalid '{field}': expected a data URI (data:image/...;base64,...)."
                )
            fetched = await self._fetcher.fetch(url, field)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _looked_at, url, fetched, field, detail)

    def close(self) -> None:
        """Ends its threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _looked_at(url: str, fetched: bytes | None, field: str, detail: str | None) -> str:
    data = _unpacked(url, field) if fetched is None else fetched
    return look(data, field, detail=detail).data_uri


def _unpacked(url: str, field: str) -> bytes:
    head, comma, text = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise violation.wrong_value(
            field, f"Invalid '{field}': expected a data URI with base64 in it (data:image/...;base64,...)."
        )
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise InvalidField(
            f"Invalid '{field}': expected base64 after the comma.", param=field, code="invalid_base64"
        ) from None
