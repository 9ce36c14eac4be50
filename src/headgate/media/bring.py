"""Brings a picture to whoever wants it inline: fetched or unpacked, looked at, made fit for an engine.

Must not know which request it belongs to.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from headgate.media.fetch import Fetcher
from headgate.pictures import look, unpack

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
        if self._fetcher is not None and not url.startswith("data:"):
            fetched = await self._fetcher.fetch(url, field)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _looked_at, url, fetched, field, detail)

    def close(self) -> None:
        """Ends its threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _looked_at(url: str, fetched: bytes | None, field: str, detail: str | None) -> str:
    return look(unpack(url, field) if fetched is None else fetched, field, detail=detail).data_uri
