"""Heads of requests: made once for a path, kept within bounds, without a second line of anything."""

from __future__ import annotations

import asyncio

from headgate.backends.pool import Pool
from headgate.backends.upstreams import KEPT_PATHS, Heads, Place
from headgate.core.address import Address
from headgate.core.ports import Outgoing
from tests.conftest import run


def test_a_client_that_names_models_without_end_takes_no_memory() -> None:
    async def main() -> None:
        address = Address("127.0.0.1", 80, prefix="/v1")
        pool = Pool(address)
        heads = Heads(Place(pool, address, ((b"authorization", b"Bearer k"),)))
        for number in range(3 * KEPT_PATHS):
            head = heads.head(Outgoing(f"/models/{number}:generateContent", b""), 7)
            assert head.startswith(b"POST /v1/models/%d:generateContent HTTP/1.1\r\n" % number)
            assert head.count(b"authorization: Bearer k\r\n") == 1
            assert len(heads._beginnings) <= KEPT_PATHS
        again = heads.head(Outgoing("/x", b"", ((b"x-own", b"1"),)), 0)
        assert again.endswith(b"x-own: 1\r\ncontent-length: 0\r\n\r\n")
        assert "Bearer" not in repr(heads)
        await pool.close()
        await asyncio.sleep(0)

    run(main())
