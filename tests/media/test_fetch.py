"""Fetching on a client's word, from real servers on loopback, which the tests allow and nobody else does."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headgate.backends.outside import PublicSide
from headgate.core.errors import InvalidField
from headgate.core.outside import Place, is_public
from headgate.core.ports import Answer
from headgate.media.fetch import REDIRECTS, Fetcher
from tests.backends.certificates import Authority
from tests.conftest import run

FIELD = "messages[0].content[1].image_url.url"
LIMIT_BYTES = 1000

WAYS_HOME = ("127.0.0.1", "localhost", "0.0.0.0", "2130706433", "127.1", "0x7f.0.0.1", "[::ffff:127.0.0.1]")


def reply(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", *lines])
    return head.encode() + b"\r\n\r\n" + body


class Site:
    """A web site whose pages are bytes, byte for byte; it notes what it was asked."""

    def __init__(self, pages: dict[str, bytes]) -> None:
        self.pages = pages
        self.heads: list[bytes] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        page = self.pages.get(head.split(b" ")[1].decode())
        if page is None:
            await reader.read()  # says nothing until the other side gives up
        else:
            writer.write(page)
        writer.close()


@asynccontextmanager
async def open_site(pages: dict[str, bytes], tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    site = Site(pages)
    server = await asyncio.start_server(site.answer, "127.0.0.1", 0, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()


def fetcher(timeout_ms: int = 20_000) -> Fetcher:
    return Fetcher(
        PublicSide(), limit_bytes=LIMIT_BYTES, timeout_ms=timeout_ms, allowed=lambda ip: ip == "127.0.0.1"
    )


def refused(url: str, how: Fetcher | None = None) -> str:
    with pytest.raises(InvalidField) as error:
        run((how or fetcher()).fetch(url, FIELD))
    assert error.value.param == FIELD
    assert error.value.status == 400
    return error.value.message


def test_a_picture_is_fetched_once_and_the_connection_closed() -> None:
    async def main() -> None:
        async with open_site({"/x.png?a=1": reply(b"picture")}) as site:
            assert await fetcher().fetch(f"http://127.0.0.1:{site.port}/x.png?a=1#b", FIELD) == b"picture"
            assert len(site.heads) == 1
            assert f"host: 127.0.0.1:{site.port}\r\n".encode() in site.heads[0]
            assert b"connection: close" in site.heads[0]

    run(main())


def test_a_certificate_is_held_against_the_name_that_was_asked_for(tmp_path: Path) -> None:
    class Named(PublicSide):
        async def look_up(self, host: str, port: int) -> Sequence[str]:
            return ["127.0.0.1"]

    authority = Authority(tmp_path)

    async def main() -> None:
        async with open_site({"/": reply(b"picture")}, authority.server("good.example")) as site:
            trusting = Fetcher(
                Named(ca_file=str(authority.file)), limit_bytes=LIMIT_BYTES, allowed=lambda _: True
            )
            assert await trusting.fetch(f"https://good.example:{site.port}/", FIELD) == b"picture"
            for url in (f"https://other.example:{site.port}/", f"https://127.0.0.1:{site.port}/"):
                with pytest.raises(InvalidField):
                    await trusting.fetch(url, FIELD)
            assert len(site.heads) == 1

    run(main())


def test_redirects_are_followed_a_few_times_and_judged_each_time() -> None:
    async def main() -> None:
        pages = {"/end": reply(b"picture")}
        async with open_site(pages) as site:
            for hop in range(REDIRECTS + 1):
                where = f"/{hop - 1}" if hop else "/end"
                pages[f"/{hop}"] = reply(b"", f"location: {where}", status="302 Found")
            here = f"http://127.0.0.1:{site.port}"
            assert await fetcher().fetch(f"{here}/{REDIRECTS - 1}", FIELD) == b"picture"
            pages["/out"] = reply(b"", "location: http://127.0.0.2/", status="307 Temporary Redirect")
            pages["/file"] = reply(b"", "location: file:///etc/passwd", status="302 Found")
            pages["/user"] = reply(b"", "location: http://a:b@127.0.0.1/", status="302 Found")
            pages["/nowhere"] = reply(b"", status="302 Found")
            for path in (f"/{REDIRECTS}", "/out", "/file", "/user", "/nowhere"):
                with pytest.raises(InvalidField):
                    await fetcher().fetch(here + path, FIELD)

    run(main())


def test_what_is_not_public_is_never_connected_to() -> None:
    async def main() -> None:
        async with open_site({"/": reply(b"secret")}) as site:
            for host in (
                "127.0.0.1",
                "localhost",
                "0.0.0.0",
                "2130706433",
                "127.1",
                "0x7f.0.0.1",
                "[::ffff:127.0.0.1]",
            ):
                with pytest.raises(InvalidField, match="nothing could be downloaded"):
                    await Fetcher(PublicSide(), limit_bytes=LIMIT_BYTES).fetch(
                        f"http://{host}:{site.port}/", FIELD
                    )
            assert not site.heads

    run(main())


class Rebinding:
    """A name whose second look-up says something else than the first."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = [*answers]
        self.asked: list[str] = []

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        return self.answers.pop(0)

    async def get(self, place: Place, address: str, limit_bytes: int) -> Answer:
        self.asked.append(address)
        return Answer(200, "", b"picture")


def test_a_name_is_looked_up_once_and_that_answer_is_used() -> None:
    name = Rebinding(["8.8.8.8"], ["127.0.0.1"])
    assert run(Fetcher(name, limit_bytes=LIMIT_BYTES).fetch("https://a.example/", FIELD)) == b"picture"
    assert name.asked == ["8.8.8.8"]
    assert is_public(name.asked[0])


def test_one_address_inside_spoils_the_name() -> None:
    name = Rebinding(["8.8.8.8", "10.0.0.1"])
    refused("https://a.example/", Fetcher(name, limit_bytes=LIMIT_BYTES))
    assert not name.asked


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (reply(b"x" * (LIMIT_BYTES + 1)), "larger than"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (LIMIT_BYTES + 1), "larger than"),
        (reply(b"x", "content-encoding: gzip"), "nothing could be downloaded"),
        (reply(b"", status="404 Not Found"), "nothing could be downloaded"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", "nothing could be downloaded"),
        (b"garbage\r\n\r\n", "nothing could be downloaded"),
    ],
)
def test_a_reply_that_is_no_picture_is_an_error_of_the_field(page: bytes, message: str) -> None:
    async def main() -> None:
        async with open_site({"/": page}) as site:
            with pytest.raises(InvalidField, match=message):
                await fetcher().fetch(f"http://127.0.0.1:{site.port}/", FIELD)

    run(main())


def test_a_silent_site_is_given_up() -> None:
    async def main() -> None:
        async with open_site({}) as site:
            with pytest.raises(InvalidField, match="nothing could be downloaded"):
                await fetcher(timeout_ms=200).fetch(f"http://127.0.0.1:{site.port}/", FIELD)

    run(main())


def test_a_name_that_is_not_there_and_a_port_that_is_closed_sound_alike(free_port: int) -> None:
    assert refused("http://nothing.invalid/") == refused(f"http://127.0.0.1:{free_port}/")


def test_an_odd_url_is_refused_before_anything_is_looked_up() -> None:
    assert "user name" in refused("http://a:b@127.0.0.1/", Fetcher(Rebinding(), limit_bytes=1))
