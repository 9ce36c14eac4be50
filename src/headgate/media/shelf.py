"""Keeps media for a while under names that nobody can guess: in a local folder, or an object store by URL.

A name says when it expires and what kind of thing it is; the rest of it is chance, and to know it is to have
the right to read it. Must not know who serves it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from secrets import token_urlsafe

import msgspec
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from headgate.core.errors import SettingsError, StoreError

SECRET_BYTES = 32
"""As many as a key has: a name is one, for a single picture."""

DAY_S = 86_400

PIECE_BYTES = 262_144
"""Read and sent at once: what a client who does not read keeps in memory."""

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
        self._keep_s = keep_s
        self._limit_bytes = limit_bytes
        self._clock = clock

    async def put(self, data: bytes, ending: str) -> str:
        """Keeps something and returns its name; `ending` is one of KINDS. Raises StoreError."""
        assert ending in KINDS, ending
        expires_s = int(self._clock()) + self._keep_s
        name = f"{expires_s:010d}-{token_urlsafe(SECRET_BYTES)}.{ending}"
        try:
            await obstore.put_async(self._store, _path(expires_s, name), data)
        except (BaseError, OSError) as error:
            raise _failed("kept", error) from None
        return name

    async def find(self, name: str) -> Kept | None:
        """What a name stands for; None when it is no name, has expired or is gone. Raises StoreError."""
        found = _NAME.fullmatch(name)
        if found is None or found["kind"] not in KINDS:
            return None
        expires_s = int(found["expires"])
        if expires_s <= self._clock():
            return None
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
        while start < end:
            stop = min(end, start + PIECE_BYTES)
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
