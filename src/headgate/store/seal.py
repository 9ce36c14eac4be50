"""Seals what must not lie open in the database: AES-256-GCM, the key from the environment or the data folder.

What is sealed says for what: it opens for the same purpose alone, so that rows cannot be exchanged.
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Any

from headgate.core.errors import SettingsError, StoreError
from headgate.store.segment import sync_folder

KEY_VARIABLE = "HEADGATE_SEAL_KEY"
KEY_FILE = "seal.key"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = b"\x01"


class Seal:
    """One key; `repr` shows nothing of it."""

    def __init__(self, key: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - for those who seal
        except ModuleNotFoundError:
            raise SettingsError("sealing needs a package: pip install cryptography") from None
        self._cipher: Any = AESGCM(key)

    def close(self, content: bytes, purpose: str) -> bytes:
        """The content sealed for a purpose, such as `webhook:ID`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + bytes(self._cipher.encrypt(nonce, content, purpose.encode()))

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """What was sealed for this purpose; raises StoreError for anything else."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        nonce, content = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        if sealed[:1] != _VERSION:
            raise StoreError("sealed in a way that this version does not know")
        try:
            return bytes(self._cipher.decrypt(nonce, content, purpose.encode()))
        except (InvalidTag, ValueError):
            raise StoreError("cannot open what is sealed: another key sealed it, or it is damaged") from None


def load_seal(folder: Path, given: str | None) -> Seal:
    """The seal of HEADGATE_SEAL_KEY (32 bytes as base64), or of the data folder's own key, made when missing.

    Raises SettingsError, StoreError.
    """
    if given:
        try:
            key = base64.b64decode(given, validate=True)
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise SettingsError(
                f"{KEY_VARIABLE}: expected {_KEY_BYTES} bytes as base64 (openssl rand -base64 32)"
            )
        return Seal(key)
    path = folder / KEY_FILE
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot use {path}: {error.strerror}") from None
    if len(key) != _KEY_BYTES:
        raise StoreError(f"{path} is damaged: what was sealed with it cannot be opened any more")
    return Seal(key)


def _make(path: Path) -> None:
    # Linked into place whole: of two processes that make one, both read the first one's.
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(unfinished, path)
        except FileExistsError:
            pass
        sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)
