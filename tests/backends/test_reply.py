"""Heads taken apart, and bodies that wait: what a reply does without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.backends.reply import (
    WAITING_LIMIT_BYTES,
    Reply,
    ends_exactly,
    ends_with_connection,
    split_head,
)
from headgate.core.errors import ConnectionLost, UpstreamGarbage
from tests.conftest import run


class FakeChannel:
    """Records what a reply asks of its connection."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.asked: list[str] = []

    def pause(self) -> None:
        self.asked.append("pause")

    def resume(self) -> None:
        self.asked.append("resume")

    def release(self) -> None:
        self.asked.append("release")


def with_reply(body: Callable[[Reply, FakeChannel], None]) -> None:
    """Runs a check on a reply whose head has just arrived."""

    async def main() -> None:
        channel = FakeChannel()
        body(Reply(channel, 200, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain"), channel)

    run(main())


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type:  text/plain \r\nX-Empty:\r\nX-Twice: a\r\nx-twice: b: c\r\nLast:\tz"


def test_header_lines_in_order_with_names_in_lower_case() -> None:
    assert split_head(HEAD) == [
        (b"content-type", b"text/plain"),
        (b"x-empty", b""),
        (b"x-twice", b"a"),
        (b"x-twice", b"b: c"),
        (b"last", b"z"),
    ]
    assert split_head(b"HTTP/1.1 200") == []


def test_one_header_is_found_without_the_others() -> None:
    def check(_: Reply, channel: FakeChannel) -> None:
        reply = Reply(channel, 200, HEAD)
        assert reply.header(b"content-type") == b"text/plain"
        assert reply.header(b"x-empty") == b""
        assert reply.header(b"x-twice") == b"a"
        assert reply.header(b"last") == b"z"
        assert reply.header(b"type") is None
        assert reply.header(b"http/1.1 200 ok") is None
        assert reply.header(b"x") is None
        assert reply.headers == split_head(HEAD)
        assert reply.headers is reply.headers
        with pytest.raises(AttributeError):
            reply.trailers  # noqa: B018

    with_reply(check)


NAMES = st.text("ABCxyz-_!#$%&'*+.^`|~09", min_size=1, max_size=12).map(str.encode)
VALUES = st.binary(max_size=20).map(lambda raw: bytes(byte for byte in raw if byte >= 0x20 and byte != 0x7F))


@given(st.lists(st.tuples(NAMES, st.sampled_from([b"", b" ", b" \t "]), VALUES), max_size=8))
def test_heads_are_read_as_the_parser_reads_them(lines: list[tuple[bytes, bytes, bytes]]) -> None:
    lines = [line for line in lines if line[0].lower() not in {b"connection", b"upgrade"}]
    head = b"\r\n".join([b"HTTP/1.1 200 OK", *(name + b":" + blank + value for name, blank, value in lines)])
    seen: list[tuple[bytes, bytes]] = []

    class Collect:
        def on_header(self, name: bytes, value: bytes) -> None:
            seen.append((name.lower(), value.strip(b" \t")))

    httptools.HttpResponseParser(Collect()).feed_data(head + b"\r\n\r\n")
    assert split_head(head) == seen

    async def one_by_one() -> None:
        reply = Reply(FakeChannel(), 200, head)
        for name, _ in seen:
            assert reply.header(name) == next(value for other, value in seen if other == name)

    asyncio.run(one_by_one())


@pytest.mark.parametrize(
    ("lines", "until_close"),
    [
        (b"", True),
        (b"Connection: close", True),
        (b"Content-Length: 5", False),
        (b"Transfer-Encoding: chunked", False),
        (b"transfer-encoding: gzip, Chunked", False),
        (b"Transfer-Encoding: gzip", True),
    ],
)
def test_what_ends_a_body(lines: bytes, until_close: bool) -> None:
    assert ends_with_connection(b"HTTP/1.1 200 OK\r\n" + lines) == until_close


@pytest.mark.parametrize(
    ("data", "pieces", "exact"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", [b"ok"], True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\r\n", [b"ok"], False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", [], True),
        (b"HTTP/1.1 204 No Content\r\n\r\n\r\n", [], False),
        (b"HTTP/1.1 204 No Content\r\n\r\n\r\n\r\n", [], False),
        (b"2\r\nok\r\n0\r\n\r\n", [b"ok"], True),
        (b"2\r\nok\r\n0\r\n\r\n\r\n", [b"ok"], False),
        (b"0\r\n\r\n", [], True),
        (b"0\r\n\r\n\r\n", [], False),
    ],
)
def test_what_comes_after_a_reply_is_seen(data: bytes, pieces: list[bytes], exact: bool) -> None:
    assert ends_exactly(data, pieces) == exact


def test_waiting_bytes_are_bounded_by_stopping_to_read() -> None:
    def check(reply: Reply, channel: FakeChannel) -> None:
        half = b"x" * (WAITING_LIMIT_BYTES // 2)
        reply.hold(half)
        reply.hold(half)
        assert channel.asked == []
        reply.hold(b"y")
        assert channel.asked == ["pause"]
        assert reply.take() == half + half + b"y"
        assert channel.asked == ["pause", "resume"]
        assert reply.take() == b""

    with_reply(check)


def test_a_reader_that_paused_is_not_resumed_by_taking() -> None:
    def check(reply: Reply, channel: FakeChannel) -> None:
        reply.hold(b"x" * (WAITING_LIMIT_BYTES + 1))
        reply.pause()
        reply.take()
        assert channel.asked == ["pause", "pause"]
        reply.resume()
        assert channel.asked == ["pause", "pause", "resume"]

    with_reply(check)


def test_a_full_reply_is_not_resumed_by_its_reader() -> None:
    def check(reply: Reply, channel: FakeChannel) -> None:
        reply.hold(b"x" * (WAITING_LIMIT_BYTES + 1))
        reply.pause()
        reply.resume()
        assert channel.asked == ["pause", "pause"]
        reply.take()
        assert channel.asked == ["pause", "pause", "resume"]

    with_reply(check)


def test_closing_twice_releases_once_and_nothing_is_asked_after() -> None:
    def check(reply: Reply, channel: FakeChannel) -> None:
        reply.close()
        reply.close()
        reply.pause()
        reply.resume()
        assert channel.asked == ["release"]

    with_reply(check)


def test_a_closed_reply_cannot_be_pumped() -> None:
    async def main() -> None:
        reply = Reply(FakeChannel(), 200, b"HTTP/1.1 200 OK")
        reply.close()
        with pytest.raises(ConnectionLost):
            await reply.pump(lambda _: None)

    run(main())


@pytest.mark.parametrize("complete", [True, False])
def test_reading_stops_at_the_limit(complete: bool) -> None:
    async def main() -> None:
        channel = FakeChannel()
        reply = Reply(channel, 200, b"HTTP/1.1 200 OK")
        reply.complete = complete
        reply.hold(b"12345")
        with pytest.raises(UpstreamGarbage):
            await reply.read(4)
        assert channel.asked == ["release"]

    run(main())


def test_reading_up_to_the_limit_is_fine() -> None:
    async def main() -> None:
        reply = Reply(FakeChannel(), 200, b"HTTP/1.1 200 OK")
        reply.complete = True
        reply.hold(b"12345")
        assert await reply.read(5) == b"12345"

    run(main())
