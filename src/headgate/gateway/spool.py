"""Where an upload waits until its upstream is known: in memory while it is small, else in a nameless file.

Such a file is gone with its last user, however that ends. Must not know what is in it.
"""

from __future__ import annotations

import asyncio
import mmap
import tempfile
from collections.abc import Sequence
from typing import IO

MEMORY_BYTES = 1_048_576
"""Kept in memory of each upload: a photograph, a minute of speech."""


class Spool:
    """One upload. Writing to a disk is left to a thread: it may be slow, and the loop may not."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._pieces: list[bytes] = []
        self._size = 0
        self._file: IO[bytes] | None = None

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Takes what has arrived; raises OSError when a disk is full."""
        self._pieces += pieces
        self._size += sum(map(len, pieces))
        if self._file is not None or self._size > self._memory_bytes:
            held, self._pieces = self._pieces, []
            await asyncio.to_thread(self._store, held)

    def buffer(self) -> bytes | memoryview:
        """All of it. What lies in a file is mapped, so that it takes no memory of ours."""
        if self._file is None:
            return b"".join(self._pieces)
        return memoryview(mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_READ))

    def close(self) -> None:
        """Lets it go. A buffer that is still being sent stays until that is done."""
        self._pieces = []
        if self._file is not None:
            self._file.close()

    def _store(self, pieces: list[bytes]) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed by `close`
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[self._file.write(view) :]
