"""The data folder: made private, and locked so that one process alone writes in it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from headgate.core.errors import StoreError

LOCK_NAME = "headgate.lock"


class DataFolder:
    """A data folder that this process holds until `close`, or until it ends, however it ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path) -> DataFolder:
        """Makes the folder if need be (mode 0700) and locks it; raises StoreError naming who holds it."""
        make_private(path)
        descriptor = -1
        try:
            descriptor = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StoreError(
                f"another Headgate (process {holder}) is using the data folder {path}"
            ) from error
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            raise StoreError(f"cannot lock the data folder {path}: {error.strerror}") from error
        return cls(path, descriptor)

    def close(self) -> None:
        """Gives the folder back."""
        # The file stays: were it removed, a third process could lock a new one beside the second's.
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> DataFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_private(path: Path) -> None:
    """Makes a folder and its parents, mode 0700; one that is there keeps its mode. Raises StoreError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the data folder {path}: {error.strerror}") from error
