"""Replies of Redis, cut at every byte; commands as they must stand on the wire."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.resp import ErrorReply, Reply, ReplyParser, RespError, arguments, command

SIMPLE = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=40))
REPLIES = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=4), max_leaves=10)


def written(reply: Reply) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    assert isinstance(reply, list)
    return b"*%d\r\n%b" % (len(reply), b"".join(map(written, reply)))


@given(st.lists(REPLIES, max_size=4), st.lists(st.integers(0, 400), max_size=8))
def test_replies_are_whole_however_they_arrive(replies: list[Reply], cuts: list[int]) -> None:
    data = b"".join(map(written, replies))
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parser = ReplyParser()
    found: list[Reply] = []
    for start, end in itertools.pairwise(places):
        found += parser.feed(data[start:end])
    assert found == replies


def test_every_byte_may_come_alone() -> None:
    data = b"+OK\r\n-NOSCRIPT gone\r\n*2\r\n$3\r\na\r\n\r\n*-1\r\n:-7\r\n"
    parser = ReplyParser()
    found = [reply for at in range(len(data)) for reply in parser.feed(data[at : at + 1])]
    assert found == [b"OK", ErrorReply("NOSCRIPT gone"), [b"a\r\n", None], -7]
    assert isinstance(found[1], ErrorReply)


@pytest.mark.parametrize("data", [b"HTTP/1.1 200 OK\r\n", b":x\r\n", b"$99999999999\r\n", b"*1\r\n!\r\n"])
def test_what_is_no_redis_is_refused(data: bytes) -> None:
    with pytest.raises(RespError):
        ReplyParser().feed(data)


def test_a_command_is_an_array_of_strings() -> None:
    assert command(3, arguments([b"SET", b"a\r\nb"]), arguments([b""])) == (
        b"*3\r\n$3\r\nSET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n"
    )
