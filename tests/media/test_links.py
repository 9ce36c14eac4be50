"""Links to media, asked of a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from headgate.edge.asgi import bridge
from headgate.edge.route import Route
from headgate.media.links import Links, select
from headgate.media.shelf import Shelf
from tests.conftest import run
from tests.edge.serving import Service, serving

DATA = bytes(range(256)) * 4096
NOW_S = 1_700_000_000.0


def clock() -> float:
    return NOW_S


@asynccontextmanager
async def hosted() -> AsyncIterator[tuple[Service, str]]:
    shelf = Shelf(MemoryStore(), keep_s=60, limit_bytes=10**9, clock=clock)
    name = await shelf.put(DATA, "png")
    handler = bridge(Links(lambda: shelf, clock))
    async with serving(Route("GET", "/media/*", handler), Route("HEAD", "/media/*", handler)) as service:
        yield service, name


def request(name: str, *lines: bytes, method: bytes = b"GET") -> bytes:
    head = b"".join(line + b"\r\n" for line in lines)
    return b"%b /media/%b HTTP/1.1\r\nhost: a\r\n%b\r\n" % (method, name.encode(), head)


def test_a_link_brings_the_picture_as_what_it_is_and_nothing_runs() -> None:
    async def main() -> None:
        async with hosted() as (service, name):
            reply = await service.ask(request(name))
            assert (reply.status, reply.body) == (200, DATA)
            assert reply.header(b"content-type") == b"image/png"
            assert reply.header(b"content-length") == b"%d" % len(DATA)
            assert reply.header(b"x-content-type-options") == b"nosniff"
            assert b"sandbox" in (reply.header(b"content-security-policy") or b"")
            assert reply.header(b"cache-control") == b"private, max-age=60, immutable"

    run(main())


@pytest.mark.parametrize(
    ("wanted", "status", "body", "where"),
    [
        (b"bytes=0-9", 206, DATA[:10], b"bytes 0-9/1048576"),
        (b"bytes=1048570-", 206, DATA[-6:], b"bytes 1048570-1048575/1048576"),
        (b"bytes=-4", 206, DATA[-4:], b"bytes 1048572-1048575/1048576"),
        (b"bytes=5-99999999", 206, DATA[5:], b"bytes 5-1048575/1048576"),
        (b"bytes=1048576-", 416, b"", b"bytes */1048576"),
        (b"bytes=-0", 416, b"", b"bytes */1048576"),
        (b"bytes=0-1,4-5", 200, DATA, None),
        (b"bytes=9-1", 200, DATA, None),
        (b"lines=1-2", 200, DATA, None),
        (b"bytes=" + b"0-," * 5000, 200, DATA, None),
    ],
)
def test_ranges(wanted: bytes, status: int, body: bytes, where: bytes | None) -> None:
    async def main() -> None:
        async with hosted() as (service, name):
            reply = await service.ask(request(name, b"range: " + wanted))
            assert (reply.status, reply.body) == (status, body)
            assert reply.header(b"content-range") == where

    run(main())


def test_a_range_of_another_version_is_not_spliced_into_this_one() -> None:
    async def main() -> None:
        async with hosted() as (service, name):
            tag = (await service.ask(request(name))).header(b"etag") or b""
            same = await service.ask(request(name, b"range: bytes=0-0", b"if-range: " + tag))
            other = await service.ask(request(name, b"range: bytes=0-0", b'if-range: "x"'))
            unchanged = await service.ask(request(name, b"if-none-match: " + tag))
            assert (same.status, other.status, unchanged.status) == (206, 200, 304)

    run(main())


def test_head_tells_the_length_and_sends_nothing() -> None:
    async def main() -> None:
        async with hosted() as (service, name):
            client = await service.connect()
            reply = await client.ask(request(name, method=b"HEAD"), method=b"HEAD")
            assert (reply.status, reply.body) == (200, b"")
            assert reply.header(b"content-length") == b"%d" % len(DATA)

    run(main())


@pytest.mark.parametrize("name", ["", "x.png", "..", "../../etc/passwd", "%2e%2e%2fetc%2fpasswd", "1" * 3000])
def test_any_other_name_is_not_found(name: str) -> None:
    async def main() -> None:
        async with hosted() as (service, _):
            reply = await service.ask(request(name))
            assert reply.status == 404
            assert reply.json["error"]["type"] == "invalid_request_error"

    run(main())


@given(
    st.one_of(st.text(max_size=30), st.from_regex(r"bytes=[0-9]{0,4}-[0-9]{0,4}", fullmatch=True)),
    st.integers(0, 5000),
)
def test_any_range_stays_within_the_thing(wanted: str, size: int) -> None:
    status, start, end = select(wanted, size)
    assert status in (200, 206, 416)
    assert 0 <= start <= end <= size
    assert (status == 416) <= (start == end)
