"""Media kept for a while: names, expiry, room."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import LocalStore, MemoryStore, ObjectStore

from headgate.core.errors import SettingsError, StoreError
from headgate.media.shelf import KINDS, PIECE_BYTES, Shelf, open_store
from tests.conftest import run


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


def shelf(store: ObjectStore, clock: Clock, *, keep_s: int = 3600, limit_bytes: int = 10**9) -> Shelf:
    return Shelf(store, keep_s=keep_s, limit_bytes=limit_bytes, clock=clock)


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return open_store("" if request.param == "folder" else "memory:///", tmp_path / "media")


def test_what_was_kept_is_found_and_read_until_it_expires(store: ObjectStore) -> None:
    clock = Clock()
    kept_here = shelf(store, clock)
    data = bytes(range(256)) * 2048

    async def main() -> None:
        name = await kept_here.put(data, "png")
        kept = await kept_here.find(name)
        assert kept is not None
        assert (kept.kind, kept.size, kept.expires_s) == ("image/png", len(data), 1_700_003_600)
        assert len(data) > PIECE_BYTES
        assert b"".join([piece async for piece in kept_here.read(kept, 0, kept.size)]) == data
        assert b"".join([piece async for piece in kept_here.read(kept, 1, 5)]) == data[1:5]
        clock.now_s += 3599
        assert await kept_here.find(name) == kept
        clock.now_s += 1
        assert await kept_here.find(name) is None

    run(main())


def test_names_are_never_alike_and_no_name_can_be_made_from_another(store: ObjectStore) -> None:
    kept_here = shelf(store, Clock())

    async def main() -> None:
        names = {await kept_here.put(b"x", "png") for _ in range(50)}
        assert len(names) == 50
        assert all(re.fullmatch(r"1700003600-[\w-]{43}\.png", name) for name in names)
        name = names.pop()
        later = name.replace("1700003600", "1700009999")
        for other in (later, name[:-3] + "jpg", name + "x", name.upper(), "x" + name, f"19675/{name}"):
            assert await kept_here.find(other) is None, other

    run(main())


@given(st.one_of(st.text(max_size=80), st.from_regex(r"[0-9]{10}-[\w./-]{43}\.(png|\.\.)")))
def test_no_other_name_reaches_anything(name: str) -> None:
    assert run(shelf(MemoryStore(), Clock()).find(name)) is None


@pytest.mark.parametrize("name", ["../secret", "..%2fsecret", "9999999999-" + "a" * 43 + "./../x", ""])
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    assert run(shelf(open_store("", tmp_path / "media"), Clock()).find(name)) is None


def test_what_expired_goes_and_nothing_else(store: ObjectStore) -> None:
    clock = Clock()
    kept_here = shelf(store, clock)

    async def main() -> None:
        await store.put_async("notes/readme.txt", b"somebody else's")
        old = await kept_here.put(b"old", "png")
        clock.now_s += 100
        new = await kept_here.put(b"new", "mp3")
        clock.now_s += 3500
        assert await kept_here.clean() == 1
        assert await kept_here.clean() == 0
        assert await kept_here.find(old) is None
        assert await kept_here.find(new) is not None
        assert bytes(await (await store.get_async("notes/readme.txt")).bytes_async()) == b"somebody else's"

    run(main())


def test_over_the_limit_what_expires_soonest_goes_first(store: ObjectStore) -> None:
    clock = Clock()
    kept_here = shelf(store, clock, limit_bytes=250)

    async def main() -> None:
        names = []
        for _ in range(4):
            names.append(await kept_here.put(b"x" * 100, "png"))
            clock.now_s += 1
        assert await kept_here.clean() == 2
        assert [await kept_here.find(name) is None for name in names] == [True, True, False, False]

    run(main())


def test_a_store_that_fails_is_told_without_its_address(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    store = LocalStore(folder, mkdir=True)
    folder.chmod(0o700)
    folder.rmdir()
    folder.write_text("not a folder")

    with pytest.raises(StoreError) as error:
        run(shelf(store, Clock()).put(b"x", "png"))
    assert str(tmp_path) not in str(error.value)


def test_a_url_of_no_store_is_refused_when_the_gate_starts(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"media\.store") as error:
        open_store("nosuch://user:password@host/", tmp_path)
    assert "password" not in str(error.value)


def test_nothing_that_is_kept_can_run_in_a_browser() -> None:
    assert not {kind for kind in KINDS.values() if "svg" in kind or "html" in kind or "xml" in kind}
