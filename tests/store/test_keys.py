"""Keys: found whole or not at all, kept as hashes, shown once, rotated; the clear text is nowhere else."""

from __future__ import annotations

import gc
import hashlib
import os
import stat
import string
from pathlib import Path

import pytest

from headgate.core.errors import SettingsError, StoreError
from headgate.core.ports import Principal
from headgate.store import keys as keys_module
from headgate.store.keys import MASTER, KeyTable, MasterKey, hash_key, is_mistyped, make_key, rotate

GIVEN = "correct-horse-battery-staple"


def loaded(folder: Path, given: str | None = None) -> tuple[KeyTable, MasterKey, str | None]:
    table = KeyTable()
    master = MasterKey(folder, table)
    return table, master, master.load(given)


def test_a_key_opens_for_its_holder_only(tmp_path: Path) -> None:
    table = KeyTable()
    holders = [Principal(f"key-{number}", f"name {number}") for number in range(1000)]
    made = [make_key() for _ in holders]
    for key, holder in zip(made, holders, strict=True):
        table.put(hash_key(key), holder)
    assert [table.find(key.encode()) for key in made] == holders
    table.drop(hash_key(made[5]))
    assert table.find(made[5].encode()) is None
    assert table.find(made[6].encode()) == holders[6]


def test_nothing_but_the_whole_key_opens(tmp_path: Path) -> None:
    table, _, shown = loaded(tmp_path)
    assert shown is not None
    key = shown.encode()
    assert table.find(key) == MASTER
    wrong = [key[:length] for length in range(len(key))]
    wrong += [key + b" ", b" " + key, key + b"\0", key + b"x", key.upper(), key.swapcase(), key[::-1]]
    wrong += [bytes([*key[:at], key[at] ^ 1, *key[at + 1 :]]) for at in range(len(key))]
    wrong += [
        hashlib.sha256(key).digest(),
        hashlib.sha256(key).hexdigest().encode(),
        bytes(32),
        b"\xff" * 70_000,
    ]
    wrong += [b"Bearer " + key, b"sk-hg-", "ключ".encode(), make_key().encode()]
    assert [token for token in wrong if table.find(token) is not None] == []


def test_a_prefix_of_the_hash_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest found is compared in full: a table that answered loosely would still let nobody in."""

    class Loose(dict[bytes, tuple[bytes, Principal | None, int]]):
        def get(self, digest: bytes, default: object = None) -> tuple[bytes, Principal | None, int]:
            return next(iter(self.values()))

    table = KeyTable()
    table._entries = Loose()
    table.put(hash_key(GIVEN), MASTER)
    assert table.find(GIVEN.encode()) == MASTER
    assert table.find(b"something else entirely") is None


def test_a_key_opens_until_its_end() -> None:
    table = KeyTable()
    holder = Principal("key-1", "one")
    table.put(hash_key(GIVEN), holder, 1000)
    table.now_ms = 999
    assert table.find(GIVEN.encode()) == holder
    table.now_ms = 1000
    assert table.find(GIVEN.encode()) is None


def test_a_slip_of_the_pen_is_told_from_a_dead_key() -> None:
    key = make_key().encode()
    assert not is_mistyped(key)
    assert not is_mistyped(b"AIza-foreign-keys-have-no-checksum")
    slips = [key[:-1], key + b"x", key[:20] + key[21:], key[:20] + b"\xff" + key[21:], b"sk-hg-"]
    slips += [bytes([*key[:at], key[at] ^ 1, *key[at + 1 :]]) for at in range(len(b"sk-hg-"), len(key))]
    assert all(is_mistyped(slip) for slip in slips)


def test_right_and_wrong_take_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(keys_module, "compare_digest", compare)
    table = KeyTable()
    table.put(hash_key(GIVEN), MASTER)
    assert table.find(GIVEN.encode()) is MASTER
    assert table.find(b"wrong") is None
    assert [(len(one), len(other)) for one, other in compared] == [(32, 32), (32, 32)]


def test_made_keys_are_random_and_well_formed() -> None:
    made = {make_key() for _ in range(200)}
    assert len(made) == 200
    allowed = set(string.ascii_letters + string.digits + "-_")
    for key in made:
        assert key.startswith("sk-hg-")
        assert set(key) <= allowed
        # 256 bits take 43 characters; six more are the checksum.
        assert len(key) == len("sk-hg-") + 43 + 6
        assert keys_module.check_key(key) == key


def test_the_first_start_makes_a_key_and_shows_it_once(tmp_path: Path) -> None:
    table, _, shown = loaded(tmp_path)
    assert shown is not None
    assert table.find(shown.encode()) == Principal("master", "operator")
    again, _, shown_again = loaded(tmp_path)
    assert shown_again is None
    assert again.find(shown.encode()) == MASTER


def test_the_file_is_private_and_does_not_hold_the_key(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        _, _, shown = loaded(tmp_path)
    finally:
        os.umask(old)
    assert shown is not None
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_text()
    secret = shown.removeprefix("sk-hg-")
    assert not any(secret[at : at + 8] in content for at in range(len(secret) - 7))
    assert hashlib.sha256(shown.encode()).hexdigest() in content


def test_a_key_from_the_environment_wins_and_is_not_stored(tmp_path: Path) -> None:
    _, _, shown = loaded(tmp_path)
    assert shown is not None
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    table, master, made = loaded(tmp_path, GIVEN)
    assert made is None
    assert table.find(GIVEN.encode()) == MASTER
    assert table.find(shown.encode()) is None
    rotate(tmp_path)
    assert not master.refresh()
    master.reload()
    assert table.find(GIVEN.encode()) == MASTER
    assert set(before) == set(tmp_path.iterdir())
    assert all(GIVEN.encode() not in path.read_bytes() for path in tmp_path.iterdir())

    empty = tmp_path / "empty"
    empty.mkdir()
    loaded(empty, GIVEN)
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "too short"),
        ("fifteen-letters", "too short"),
        ("correct horse battery staple", "space"),
        ("correct-horse-battery-staple\n", "line end"),
        ("correct-horse-battery-\x00staple", "outside ASCII"),
        ("correct-horse-battery-stäple", "outside ASCII"),
        ("sk-hg-correct-horse-battery-staple", "mistyped"),
    ],
)
def test_an_environment_key_that_cannot_serve_is_refused_unquoted(
    tmp_path: Path, given: str, says: str
) -> None:
    with pytest.raises(SettingsError, match="HEADGATE_MASTER_KEY") as caught:
        loaded(tmp_path, given)
    assert says in str(caught.value)
    assert not given.strip() or given.strip() not in str(caught.value)


def test_sixteen_characters_are_enough(tmp_path: Path) -> None:
    table, _, _ = loaded(tmp_path, "sixteen-letters!")
    assert table.find(b"sixteen-letters!") == MASTER


def test_a_slip_in_a_key_made_here_is_told_at_the_door(tmp_path: Path) -> None:
    key = make_key()
    for at in range(len("sk-hg-"), len(key)):
        other = "A" if key[at] != "A" else "B"
        with pytest.raises(SettingsError, match="mistyped"):
            keys_module.check_key(key[:at] + other + key[at + 1 :])


def test_rotation_reaches_a_running_server_and_kills_the_old_key(tmp_path: Path) -> None:
    table, master, old = loaded(tmp_path)
    assert old is not None
    assert not master.refresh()
    new = rotate(tmp_path)
    assert new != old
    assert table.find(old.encode()) == MASTER, "until it looks"
    assert master.refresh()
    assert table.find(new.encode()) == MASTER
    assert table.find(old.encode()) is None
    assert not master.refresh()
    newest = rotate(tmp_path)
    master.reload()
    assert table.find(newest.encode()) == MASTER
    assert table.find(new.encode()) is None
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"nonsense", b'{"sha256":"zz","created_ms":1}', b'{"sha256":"abcd","created_ms":1}'],
)
def test_a_damaged_file_is_named_and_the_present_key_stays(tmp_path: Path, content: bytes) -> None:
    table, master, shown = loaded(tmp_path)
    assert shown is not None
    path = tmp_path / "master-key.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"master-key\.json is damaged"):
        master.refresh()
    assert not master.refresh(), "told once, not once a second"
    with pytest.raises(StoreError, match="rotate"):
        master.reload()
    assert table.find(shown.encode()) == MASTER
    with pytest.raises(StoreError, match=r"master-key\.json is damaged"):
        loaded(tmp_path)
    new = rotate(tmp_path)
    assert master.refresh()
    assert table.find(new.encode()) == MASTER


def test_a_file_that_is_gone_leaves_the_present_key(tmp_path: Path) -> None:
    table, master, shown = loaded(tmp_path)
    assert shown is not None
    (tmp_path / "master-key.json").unlink()
    with pytest.raises(StoreError, match="cannot read"):
        master.refresh()
    assert table.find(shown.encode()) == MASTER


def test_a_crash_while_writing_leaves_the_old_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, shown = loaded(tmp_path)
    assert shown is not None

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="Input/output error"):
        rotate(tmp_path)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["master-key.json"]
    table, _, _ = loaded(tmp_path)
    assert table.find(shown.encode()) == MASTER


def test_root_rotates_for_the_folder_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the server's own user cannot read would keep the old key alive."""
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda descriptor, user, group: owners.append((user, group)))
    rotate(tmp_path)
    folder = tmp_path.stat()
    assert owners == [(folder.st_uid, folder.st_gid)]


def test_no_secret_in_what_objects_and_errors_show(tmp_path: Path) -> None:
    table, master, shown = loaded(tmp_path)
    assert shown is not None
    shows = [repr(thing) + str(thing) for thing in (table, master, table.find(shown.encode()), MASTER)]
    (tmp_path / "master-key.json").write_text(f"{shown} in the wrong place")
    with pytest.raises(StoreError) as caught:
        master.reload()
    shows.append(str(caught.value) + repr(caught.value))
    secret = shown.removeprefix("sk-hg-")
    for text in shows:
        assert secret[:8] not in text
        assert hash_key(shown).hex()[:16] not in text
    # Nor is it kept in memory beyond the caller's own copy.
    gc.collect()
    assert not any(shown in held for held in (vars(master).values(), vars(table).values()))
