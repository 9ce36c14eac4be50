"""Keeps media for a while under names that nobody can guess: in a local folder, or an object store by URL.

A name says when it expires and what kind of thing it is; the rest of it is chance, and to know it is to have
the right to read it. Must not know who serves it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from secrets import token_urlsafe

import msgspec
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from headgate.core.errors import SettingsError, StoreError

log = logging.getLogger(__name__)

SECRET_BYTES = 32
"""As many as a key has: a name is one, for a single picture."""

DAY_S = 86_400

PIECE_BYTES = 262_144
"""Read and sent at once: what a client who does not read keeps in memory."""

FRESH_BYTES = 268_435_456
"""Placed and not stored yet, at most: some hundred pictures."""

KINDS = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
}
"""What is kept, by the ending of its name. Nothing here runs scripts in a browser, as SVG would."""

_NAME = re.compile(r"(?P<expires>[0-9]{10})-[A-Za-z0-9_-]{43}\.(?P<kind>[a-z0-9]{2,4})")


class Kept(msgspec.Struct, frozen=True):
    """One thing on the shelf."""

    name: str
    kind: str
    """Media type, such as `image/png`."""
    size: int
    """Bytes."""
    expires_s: int
    """Unix time."""


class Shelf:
    """The media that links lead to."""

    def __init__(
        self, store: ObjectStore, *, keep_s: int, limit_bytes: int, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._fresh: dict[str, bytes] = {}
        """What was placed and is still on its way into the store, by name."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._keep_s = keep_s
        self._limit_bytes = limit_bytes
        self._clock = clock

    async def put(self, data: bytes, ending: str) -> str:
        """Keeps something and returns its name; `ending` is one of KINDS. Raises StoreError."""
        name = self._new_name(ending)
        await self._write(name, data)
        return name

    def place(self, data: bytes, ending: str) -> str:
        """The same without waiting: what it stands for can be read here from now on, and elsewhere soon.

        Raises StoreError when the store is too slow for what is placed.
        """
        if sum(map(len, self._fresh.values())) + len(data) > FRESH_BYTES:
            raise StoreError("media could not be kept: the store does not keep up")
        name = self._new_name(ending)
        self._fresh[name] = data
        task = asyncio.get_running_loop().create_task(self._settle(name, data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return name

    async def settled(self) -> None:
        """Returns when all that was placed before is in the store, or could not be put there."""
        if self._tasks:
            await asyncio.wait([*self._tasks])

    async def _settle(self, name: str, data: bytes) -> None:
        try:
            await self._write(name, data)
        except StoreError as error:
            log.error("%s", error)
        finally:
            del self._fresh[name]

    def _new_name(self, ending: str) -> str:
        assert ending in KINDS, ending
        return f"{int(self._clock()) + self._keep_s:010d}-{token_urlsafe(SECRET_BYTES)}.{ending}"

    async def _write(self, name: str, data: bytes) -> None:
        try:
            await obstore.put_async(self._store, _path(int(name[:10]), name), data)
        except (BaseError, OSError) as error:
            raise _failed("kept", error) from None

    async def find(self, name: str) -> Kept | None:
        """What a name stands for; None when it is no name, has expired or is gone. Raises StoreError."""
        found = _NAME.fullmatch(name)
        if found is None or found["kind"] not in KINDS:
            return None
        expires_s = int(found["expires"])
        if expires_s <= self._clock():
            return None
        fresh = self._fresh.get(name)
        if fresh is not None:
            return Kept(name, KINDS[found["kind"]], len(fresh), expires_s)
        try:
            entry = await obstore.head_async(self._store, _path(expires_s, name))
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _failed("found", error) from None
        return Kept(name, KINDS[found["kind"]], entry["size"], expires_s)

    async def read(self, kept: Kept, start: int, end: int) -> AsyncIterator[bytes]:
        """Its bytes from `start` up to `end`, in pieces; raises StoreError."""
        path = _path(kept.expires_s, kept.name)
        fresh = self._fresh.get(kept.name)
        while start < end:
            stop = min(end, start + PIECE_BYTES)
            if fresh is not None:
                yield fresh[start:stop]
                start = stop
                continue
            try:
                piece = await obstore.get_range_async(self._store, path, start=start, end=stop)
            except (BaseError, OSError) as error:
                raise _failed("read", error) from None
            yield bytes(piece)
            start = stop

    async def clean(self) -> int:
        """Removes what has expired, and what expires soonest while all is over the limit; says how many."""
        now_s = self._clock()
        entries: list[tuple[str, int]] = []
        gone: list[str] = []
        try:
            async for batch in obstore.list(self._store):
                for entry in batch:
                    path = entry["path"]
                    found = _NAME.fullmatch(path.rpartition("/")[2])
                    if found is None:
                        continue  # not ours: a folder may be shared
                    if int(found["expires"]) <= now_s:
                        gone.append(path)
                    else:
                        entries.append((path, entry["size"]))
            entries.sort()
            excess = sum(size for _, size in entries) - self._limit_bytes
            for path, size in entries:
                if excess <= 0:
                    break
                gone.append(path)
                excess -= size
            if gone:
                await obstore.delete_async(self._store, gone)
        except FileNotFoundError:
            pass  # somebody else was quicker; what is left goes the next time
        except (BaseError, OSError) as error:
            raise _failed("cleaned up", error) from None
        return len(gone)


def open_store(url: str, folder: Path) -> ObjectStore:
    """The store at a URL (`s3://bucket/prefix`, `gs://`, `az://` ...), or the folder when it is empty.

    Credentials come from the environment, as each provider's own tools read them. Raises SettingsError.
    """
    if not url:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LocalStore(folder)
    try:
        return from_url(url)
    except (BaseError, ValueError) as error:
        raise SettingsError(f"media.store: not a store that can be used ({type(error).__name__})") from None


def _path(expires_s: int, name: str) -> str:
    """By day: a folder of a million files is slow to list, and one of a day goes as a whole."""
    return f"{expires_s // DAY_S}/{name}"


def _failed(what: str, error: Exception) -> StoreError:
    # The foreign text may hold a signed URL.
    return StoreError(f"media could not be {what}: {type(error).__name__}")
