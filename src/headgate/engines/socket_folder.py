"""A folder for an engine's Unix socket that nobody else can enter, and what killed gates left of theirs."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from headgate.core.errors import SettingsError

FOLDER_PREFIX, SOCKET_NAME = "headgate-", "engine.sock"

FRESH_S = 60.0
"""A socket younger than this may be about to listen."""


def private_folder() -> Path:
    """A new folder; its path stays short, since a socket's may have 103 bytes. Raises SettingsError."""
    bases = [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"]
    for base in bases:
        if base and len(base.encode()) <= 60 and os.access(base, os.W_OK | os.X_OK):
            _sweep(Path(base))
            return Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=base))
    raise SettingsError(
        "no folder for an engine's socket: set XDG_RUNTIME_DIR or TMPDIR to a short, writable one"
    )


def _sweep(base: Path) -> None:
    """Removes what gates that were killed have left: sockets of ours at which nobody listens any more."""
    for path in base.glob(f"{FOLDER_PREFIX}*/{SOCKET_NAME}"):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            found = path.lstat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < FRESH_S:
                continue
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                shutil.rmtree(path.parent, ignore_errors=True)
