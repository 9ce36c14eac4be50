"""The keys that open the gate: made, kept as hashes, found by hash, rotated.

Clear text is never stored, and shown once. Must not know routes or what a key may do.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import time
import zlib
from hmac import compare_digest
from pathlib import Path

import msgspec

from headgate.core.errors import SettingsError, StoreError
from headgate.core.ports import Principal
from headgate.store.segment import sync_folder

MASTER_FILE = "master-key.json"
PREFIX = "sk-hg-"
MIN_KEY_CHARACTERS = 16
"""Shorter ones can be guessed: 16 random letters and digits hold about 95 bits."""
_SECRET_BYTES = 32
_CHECKSUM_CHARACTERS = 6

MASTER = Principal(key_id="master", name="operator")


class _Stored(msgspec.Struct, frozen=True):
    """The master key's file."""

    sha256: str
    created_ms: int


FOR_EVER_MS = 2**63
"""An end that no clock reaches."""

_Entry = tuple[bytes, Principal | None, int]

_NOBODY: _Entry = (bytes(32), None, FOR_EVER_MS)
"""What a wrong token is compared with, so that it takes the same steps as a right one."""


class KeyTable:
    """The `Keys` port: holders by the full SHA-256 of their key."""

    def __init__(self) -> None:
        self._entries: dict[bytes, _Entry] = {}
        self.now_ms = 0
        """Unix time, as coarse as whoever owns the table sets it: a key ends that much late."""

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, token: bytes) -> Principal | None:
        """The holder of a bearer token, or None; takes the same time for any wrong token of one length."""
        digest = hashlib.sha256(token).digest()
        kept, holder, end_ms = self._entries.get(digest, _NOBODY)
        return holder if compare_digest(kept, digest) and self.now_ms < end_ms else None

    def holders(self) -> list[Principal]:
        """Everybody who is let in."""
        return [holder for _, holder, _ in self._entries.values() if holder is not None]

    def put(self, digest: bytes, holder: Principal, end_ms: int | None = None) -> None:
        """Lets in whoever brings the key with this SHA-256, until a time if there is one."""
        self._entries[digest] = (digest, holder, FOR_EVER_MS if end_ms is None else end_ms)

    def drop(self, digest: bytes) -> None:
        """Lets that key in no more."""
        self._entries.pop(digest, None)


class MasterKey:
    """The operator's key: from the environment, or from a file of the data folder that holds its hash."""

    def __init__(self, folder: Path, table: KeyTable) -> None:
        self._path = folder / MASTER_FILE
        self._table = table
        self._digest = b""
        self._stamp: tuple[int, int, int] | None = None
        """Identity of the file that was read last; None when the environment gives the key."""

    def load(self, given: str | None) -> str | None:
        """Puts the operator's key into the table; returns it in clear if it was made just now: show it once.

        `given` is HEADGATE_MASTER_KEY: where set it wins and nothing is stored. Raises SettingsError for one
        that cannot serve, StoreError when the file cannot be read or written.
        """
        if given is not None:
            self._use(hash_key(check_key(given)))
            return None
        made = None if self._path.exists() else rotate(self._path.parent)
        self._stamp = _stamp(self._path)
        self._use(_read(self._path))
        return made

    def reload(self) -> None:
        """Reads the file again (on SIGHUP); StoreError, and the present key stays, if it cannot be used.

        Does nothing when the environment gave the key.
        """
        if self._stamp is None:
            return
        self._stamp = _stamp(self._path)  # before reading: what cannot be read is told once, not every second
        self._use(_read(self._path))

    def refresh(self) -> bool:
        """Reads the file again if it was replaced: one stat, for a timer once a second. True if it did."""
        if self._stamp is None or _stamp(self._path) == self._stamp:
            return False
        self.reload()
        return True

    def _use(self, digest: bytes) -> None:
        self._table.drop(self._digest)
        self._table.put(digest, MASTER)
        self._digest = digest


def rotate(folder: Path) -> str:
    """Makes a new operator's key, replaces the stored hash and returns the key in clear: show it once.

    The old key is dead for a running server as soon as it reads the file again. Raises StoreError.
    """
    key = make_key()
    stored = _Stored(hash_key(key).hex(), time.time_ns() // 1_000_000)
    _replace(folder / MASTER_FILE, msgspec.json.encode(stored) + b"\n")
    return key


def make_key() -> str:
    """A new key: the prefix, 256 random bits, and a checksum that tells a slip of the pen from a dead key."""
    body = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    return body + _checksum(body)


def is_mistyped(token: bytes) -> bool:
    """Whether a token begins like a key made here and cannot be one: told without looking any up."""
    if not token.startswith(PREFIX.encode()):
        return False
    text = token.decode("ascii", "replace")
    return text[-_CHECKSUM_CHARACTERS:] != _checksum(text[:-_CHECKSUM_CHARACTERS])


def hash_key(key: str) -> bytes:
    """The full SHA-256 of a key. Not a slow hash: 256 random bits cannot be searched, and requests pay."""
    return hashlib.sha256(key.encode()).digest()


def check_key(key: str) -> str:
    """The key, if it can serve; raises SettingsError, which never quotes it."""
    if len(key) < MIN_KEY_CHARACTERS:
        raise SettingsError(
            f"HEADGATE_MASTER_KEY is too short: at least {MIN_KEY_CHARACTERS} characters are needed"
        )
    if not all("!" <= character <= "~" for character in key):
        raise SettingsError(
            "HEADGATE_MASTER_KEY has a space, a line end or a character outside ASCII: no header carries it"
        )
    if is_mistyped(key.encode()):
        raise SettingsError(
            f"HEADGATE_MASTER_KEY starts like a key made here ({PREFIX}) but is mistyped or cut"
        )
    return key


def _checksum(body: str) -> str:
    raw = zlib.crc32(body.encode()).to_bytes(4, "big")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _read(path: Path) -> bytes:
    try:
        digest = bytes.fromhex(msgspec.json.decode(path.read_bytes(), type=_Stored).sha256)
    except OSError as error:
        raise StoreError(f"cannot read the operator's key in {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise StoreError(f"{path} is damaged; `headgate keys master --rotate` makes a new key") from error
    if len(digest) != 32:
        raise StoreError(f"{path} is damaged; `headgate keys master --rotate` makes a new key")
    return digest


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _replace(path: Path, content: bytes) -> None:
    """Writes a private file so that a crash leaves the old or the new one, whole."""
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if os.geteuid() == 0:
                # Rotated by root for a server of another user: it must be able to read its own key.
                owner = path.parent.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        unfinished.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
