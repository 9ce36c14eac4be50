"""What is sealed opens with the same key for the same purpose, and otherwise not at all."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from headgate.core.errors import SettingsError, StoreError
from headgate.store.seal import KEY_FILE, Seal, load_seal


def test_what_was_sealed_is_opened(tmp_path: Path) -> None:
    sealed = load_seal(tmp_path, None).close(b"a secret", "webhook:1")
    assert b"a secret" not in sealed
    again = load_seal(tmp_path, None)
    assert again.open(sealed, "webhook:1") == b"a secret"
    assert again.close(b"a secret", "webhook:1") != sealed
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_another_purpose_another_key_another_byte_open_nothing(tmp_path: Path) -> None:
    seal = Seal(bytes(32))
    sealed = seal.close(b"a secret", "webhook:1")
    with pytest.raises(StoreError):
        seal.open(sealed, "webhook:2")
    with pytest.raises(StoreError):
        Seal(b"\x01" * 32).open(sealed, "webhook:1")
    for at in range(len(sealed)):
        with pytest.raises(StoreError):
            seal.open(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], "webhook:1")
        with pytest.raises(StoreError):
            seal.open(sealed[:at], "webhook:1")


def test_a_key_from_the_environment_leaves_no_file(tmp_path: Path) -> None:
    given = base64.b64encode(bytes(range(32))).decode()
    sealed = load_seal(tmp_path, given).close(b"x", "p")
    assert Seal(bytes(range(32))).open(sealed, "p") == b"x"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", ["not base64!", base64.b64encode(bytes(16)).decode(), "AAAA"])
def test_a_key_that_is_none_is_refused_and_not_repeated(tmp_path: Path, given: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_seal(tmp_path, given)
    assert given not in str(caught.value)


def test_a_damaged_key_file_is_told(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(StoreError, match="damaged"):
        load_seal(tmp_path, None)
