"""Uploads wait in memory, then on a disk where nobody finds them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.gateway.spool import Spool
from tests.conftest import run


@given(st.lists(st.lists(st.binary(max_size=50), max_size=4), max_size=8), st.integers(0, 200))
def test_what_goes_in_comes_out(writes: list[list[bytes]], memory_bytes: int) -> None:
    async def main() -> None:
        spool = Spool(memory_bytes)
        for pieces in writes:
            await spool.write(pieces)
        assert bytes(spool.buffer()) == b"".join(b"".join(pieces) for pieces in writes)
        spool.close()

    run(main())


def test_a_buffer_outlives_its_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def main() -> None:
        spool = Spool(10)
        await spool.write([b"a" * 100])
        buffer = spool.buffer()
        assert isinstance(buffer, memoryview)
        assert list(tmp_path.iterdir()) == []
        spool.close()
        assert bytes(buffer) == b"a" * 100

    run(main())
