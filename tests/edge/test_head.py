"""Heads that come again are known again, but only byte for byte; what follows from them is the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.edge.head import Head, KnownHead, known_head
from headgate.edge.limits import LEARNINGS
from headgate.edge.route import Route
from tests.conftest import run
from tests.edge.serving import echoing

LIMIT_BYTES = 1000


async def nothing(exchange: object) -> None:
    del exchange


def head(*lines: tuple[bytes, bytes], version: str = "1.1") -> Head:
    made = Head(b"POST", version, b"/echo", list(lines), dict(lines))
    made.route = Route("POST", "/echo", nothing, LIMIT_BYTES)
    return made


def text(length: object, before: str = "host: a\r\n", after: str = "") -> bytes:
    return f"POST /echo HTTP/1.1\r\n{before}Content-Length: {length}\r\n{after}\r\n".encode()


def learnt(before: str = "host: a\r\n", after: str = "") -> KnownHead:
    known = known_head(head((b"content-length", b"3")), text(3, before, after) + b"abc")
    assert known is not None
    return known


@given(st.binary(max_size=LIMIT_BYTES))
def test_the_same_head_is_known_with_any_body(body: bytes) -> None:
    for known, data in (
        (learnt(), text(len(body))),
        (learnt(after="x: 3\r\n"), text(len(body), after="x: 3\r\n")),
        (learnt(before=""), text(len(body), before="")),
    ):
        assert known.body(data + body) == body


@given(st.data())
def test_a_head_that_differs_in_any_byte_is_not_known(data: st.DataObject) -> None:
    known, same = learnt(), text(3)
    at = data.draw(st.integers(0, len(same) - 1))
    octet = data.draw(st.integers(0, 255))
    other = same[:at] + bytes([octet]) + same[at + 1 :]
    digit_at = same.index(b"3")
    if at == digit_at:
        assert known.body(other + b"abc") == (b"abc" if octet == ord("3") else None)
    else:
        assert known.body(other + b"abc") == (b"abc" if other == same else None)


@pytest.mark.parametrize(
    "data",
    [
        text(4) + b"abc",
        text(2) + b"abc",
        text(3) + b"abc\r\n",
        text(3) + b"abc" + text(3) + b"abc",
        text("") + b"abc",
        text("+3") + b"abc",
        text(" 3") + b"abc",
        text("3 ") + b"abc",
        text("3_") + b"abc",
        text("0x3") + b"abc",
        text("３") + b"abc",
        text("3, 3") + b"abc",
        text("3\r\ncontent-length: 3") + b"abc",
        text("3\r\ntransfer-encoding: chunked") + b"abc",
        text("3\n") + b"abc",
        text("000000003") + b"abc",
        text(LIMIT_BYTES + 1) + bytes(LIMIT_BYTES + 1),
        b"\r\n" + text(3) + b"abc",
        text(3)[:-1],
        text(3)[:20],
        b"",
    ],
)
def test_whatever_else_is_left_to_the_parser(data: bytes) -> None:
    assert learnt().body(data) is None


@pytest.mark.parametrize(
    "data",
    [
        text(3) + b"abc\r\n",  # the parser lets empty lines pass
        text(3) + b"ab",
        text(3, before="X: \r\n") + b"\r\n\r\nabc",
        b"POST /echo HTTP/1.1\r\nhost: a\r\n\r\nx\r\ncontent-length: 3\r\n\r\nabc",
        text("3 ") + b"abc",
    ],
)
def test_what_was_not_just_one_plain_request_is_not_learnt(data: bytes) -> None:
    assert known_head(head((b"content-length", b"3")), data) is None


def test_heads_with_something_twice_or_of_older_clients_are_not_learnt() -> None:
    assert known_head(head((b"x", b"1"), (b"x", b"2")), text(3) + b"abc") is None
    assert known_head(head((b"x", b"1"), version="1.0"), text(3) + b"abc") is None


def test_known_heads_are_served_as_others_are() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            for body in (b"first", b"", b"second", b"x" * 20_000, b"last"):
                reply = await client.ask(text(len(body)) + body)
                assert (reply.status, reply.body) == (200, body)
                assert service.connection._known is not None
            assert [seen.body for seen in service.seen] == [b"first", b"", b"second", b"x" * 20_000, b"last"]
            assert {tuple(seen.lines[0]) for seen in service.seen} == {(b"host", b"a")}

    run(main())


def test_a_known_head_in_pieces_or_in_a_pipeline_goes_to_the_parser() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            assert (await client.ask(text(3) + b"one")).body == b"one"
            whole = text(3) + b"two"
            for at in (1, 20, len(whole) - 4, len(whole) - 1):
                await client.send(whole[:at], whole[at:])
                assert (await client.reply()).body == b"two"
            await client.send(whole + text(5) + b"three" + whole)
            assert [(await client.reply()).body for _ in range(3)] == [b"two", b"three", b"two"]
            assert (await client.ask(text(4) + b"last")).body == b"last"

    run(main())


def test_a_head_that_changes_every_time_is_not_learnt_for_ever() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            for number in range(2 * LEARNINGS):
                assert (await client.ask(text(1, after=f"trace: {number}\r\n") + b"x")).body == b"x"
            assert service.connection._learnings == LEARNINGS

    run(main())


def test_new_limits_hold_for_known_heads_too() -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            long = "x: " + "y" * 2000 + "\r\n"
            assert (await client.ask(text(3, after=long) + b"one")).status == 200
            service.server.configure(type(service.server.settings)(header_bytes=1024))
            assert (await client.ask(text(3, after=long) + b"one")).status == 431

    run(main())
