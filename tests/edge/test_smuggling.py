"""Requests made to be read differently by two servers. Each row is one request, with what must become of it.

Every refused row is followed by a second request on the same connection; nobody may ever see that one.
"""

from __future__ import annotations

import pytest

from tests.conftest import run
from tests.edge.serving import Client, echoing

NEXT = b"GET /echo?smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
ABC = b"3\r\nabc\r\n0\r\n\r\n"


def head(*lines: bytes, start: bytes = b"POST /echo HTTP/1.1", host: bytes = b"host: a\r\n") -> bytes:
    return b"%b\r\n%b%b\r\n" % (start, host, b"".join(line + b"\r\n" for line in lines))


def coded(value: bytes) -> bytes:
    return head(b"transfer-encoding: " + value) + ABC


def sized(value: bytes) -> bytes:
    return head(b"content-length: " + value) + b"abc"


def in_chunks(body: bytes) -> bytes:
    return head(b"transfer-encoding: chunked") + body


REFUSED: dict[str, tuple[bytes, int]] = {
    # Both lengths: each server would believe another one.
    "length and coding": (head(b"content-length: 3", b"transfer-encoding: chunked") + ABC, 400),
    "coding and length": (head(b"transfer-encoding: chunked", b"content-length: 3") + ABC, 400),
    "length and unknown coding": (head(b"content-length: 3", b"transfer-encoding: x") + ABC, 400),
    "length zero and coding": (head(b"content-length: 0", b"transfer-encoding: chunked") + ABC, 400),
    "length in a trailer": (in_chunks(b"3\r\nabc\r\n0\r\ncontent-length: 5\r\n\r\n"), 400),
    "coding in a trailer": (in_chunks(b"3\r\nabc\r\n0\r\ntransfer-encoding: chunked\r\n\r\n"), 400),
    # Codings that one server knows and the next does not.
    "chunked is not last": (coded(b"chunked, identity"), 400),
    "identity first": (coded(b"identity, chunked"), 501),
    "gzip first": (coded(b"gzip, chunked"), 501),
    "identity": (coded(b"identity"), 501),
    "xchunked": (coded(b"xchunked"), 501),
    "chunkedx": (coded(b"chunkedx"), 501),
    "chunked twice in a line": (coded(b"chunked, chunked"), 400),
    "chunked twice": (head(b"transfer-encoding: chunked", b"transfer-encoding: chunked") + ABC, 400),
    "chunked, then identity": (
        head(b"transfer-encoding: chunked", b"transfer-encoding: identity") + ABC,
        400,
    ),
    "identity, then chunked": (
        head(b"transfer-encoding: identity", b"transfer-encoding: chunked") + ABC,
        400,
    ),
    "comma before": (coded(b",chunked"), 501),
    "comma after": (coded(b"chunked ,"), 400),
    "parameter": (coded(b"chunked;a=b"), 501),
    "quoted": (coded(b'"chunked"'), 501),
    "empty coding": (coded(b""), 400),
    "tab after the coding": (coded(b"chunked\t"), 400),
    "vertical tab before": (coded(b"\x0bchunked"), 400),
    "vertical tab after": (coded(b"chunked\x0b"), 400),
    "form feed after": (coded(b"chunked\x0c"), 400),
    "no-break space after": (coded(b"chunked\xa0"), 501),
    "NUL after the coding": (coded(b"chunked\x00"), 400),
    "HTTP/1.0 with coding": (head(b"transfer-encoding: chunked", start=b"POST /echo HTTP/1.0") + ABC, 400),
    # Header names.
    "space before the colon": (head(b"transfer-encoding : chunked") + ABC, 400),
    "tab before the colon": (head(b"transfer-encoding\t: chunked") + ABC, 400),
    "space before the name": (head(b" transfer-encoding: chunked") + ABC, 400),
    "no-break space before the name": (head(b"\xa0transfer-encoding: chunked") + ABC, 400),
    "length with a space before the colon": (head(b"content-length : 3") + b"abc", 400),
    "NUL in the name": (head(b"content-length\x00: 3") + b"abc", 400),
    "no name": (head(b": x", b"content-length: 3") + b"abc", 400),
    "no colon": (head(b"x", b"content-length: 3") + b"abc", 400),
    "space in a name": (head(b"x y: 1", b"content-length: 3") + b"abc", 400),
    # Line ends.
    "folded value": (head(b"x: a\r\n b", b"content-length: 3") + b"abc", 400),
    "folded coding": (head(b"transfer-encoding:\r\n chunked") + ABC, 400),
    "folded with a tab": (head(b"transfer-encoding:\r\n\tchunked") + ABC, 400),
    "bare LF after a value": (head(b"x: y\ntransfer-encoding: chunked") + ABC, 400),
    "bare CR after a value": (head(b"x: y\rtransfer-encoding: chunked") + ABC, 400),
    "two CR after a value": (head(b"x: y\r\r", b"content-length: 3") + b"abc", 400),
    "bare LF everywhere": (b"POST /echo HTTP/1.1\nhost: a\ncontent-length: 3\n\nabc", 400),
    "bare LF ends the head": (b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\nabc", 400),
    "bare CR ends the head": (b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\rabc", 400),
    "CR in the target": (head(start=b"GET /echo\r HTTP/1.1"), 400),
    "NUL in a value": (head(b"x: a\x00b"), 400),
    "control character in a value": (head(b"x: a\x01b"), 400),
    # Content-length.
    "two equal lengths": (head(b"content-length: 3", b"content-length: 3") + b"abc", 400),
    "two lengths": (head(b"content-length: 3", b"content-length: 30") + b"abc", 400),
    "two lengths in a line": (sized(b"3, 3"), 400),
    "plus": (sized(b"+3"), 400),
    "minus": (sized(b"-3"), 400),
    "hexadecimal": (sized(b"0x3"), 400),
    "underscore": (sized(b"0_3"), 400),
    "decimal point": (sized(b"3.0"), 400),
    "exponent": (sized(b"3e0"), 400),
    "inner space": (sized(b"3 3"), 400),
    "semicolon": (sized(b"3;"), 400),
    "superscript": (sized(b"\xb3"), 400),
    "empty length": (sized(b""), 400),
    "over 64 bits": (sized(b"18446744073709551619"), 400),
    "thousands of zeros": (sized(b"0" * 5000 + b"3"), 400),
    # Chunks.
    "chunk size 0x": (in_chunks(b"0x3\r\nabc\r\n0\r\n\r\n"), 400),
    "chunk size with plus": (in_chunks(b"+3\r\nabc\r\n0\r\n\r\n"), 400),
    "negative chunk size": (in_chunks(b"-3\r\nabc\r\n0\r\n\r\n"), 400),
    "chunk size over 64 bits": (in_chunks(b"fffffffffffffffff\r\nabc"), 400),
    "chunk size over the limit": (in_chunks(b"ffffffffffffffff\r\n" + b"a" * 2**20), 413),
    "no chunk size": (in_chunks(b"\r\nabc\r\n0\r\n\r\n"), 400),
    "space before the chunk size": (in_chunks(b" 3\r\nabc\r\n0\r\n\r\n"), 400),
    "space after the chunk size": (in_chunks(b"3 \r\nabc\r\n0\r\n\r\n"), 400),
    "bare LF after the chunk size": (in_chunks(b"3\nabc\r\n0\r\n\r\n"), 400),
    "bare CR after the chunk size": (in_chunks(b"3\r\rabc\r\n0\r\n\r\n"), 400),
    "chunk longer than its size": (in_chunks(b"3\r\nabcd\r\n0\r\n\r\n"), 400),
    "no line end after a chunk": (in_chunks(b"3\r\nabc0\r\n\r\n"), 400),
    "bare LF after a chunk": (in_chunks(b"3\r\nabc\n0\r\n\r\n"), 400),
    "bare CR after a chunk": (in_chunks(b"3\r\nabc\r0\r\n\r\n"), 400),
    "line end inside a quoted extension": (in_chunks(b'3;a="\r\n"\r\nabc\r\n0\r\n\r\n'), 400),
    "bare LF in an extension": (in_chunks(b"3;a\nb\r\nabc\r\n0\r\n\r\n"), 400),
    "NUL in an extension": (in_chunks(b"3;\x00\r\nabc\r\n0\r\n\r\n"), 400),
    "empty extension": (in_chunks(b"3;\r\nabc\r\n0\r\n\r\n"), 400),
    "trailer without a colon": (in_chunks(b"3\r\nabc\r\n0\r\na\r\n\r\n"), 400),
    "trailer with a space before the colon": (in_chunks(b"3\r\nabc\r\n0\r\na : b\r\n\r\n"), 400),
    "folded trailer": (in_chunks(b"3\r\nabc\r\n0\r\na: b\r\n c\r\n\r\n"), 400),
    "no blank line after the last chunk": (in_chunks(b"3\r\nabc\r\n0\r\n"), 400),
    # Host and authority.
    "no host": (head(host=b""), 400),
    "two hosts": (head(b"host: b"), 400),
    "two equal hosts": (head(b"host: a"), 400),
    "two hosts, HTTP/1.0": (head(b"host: b", start=b"POST /echo HTTP/1.0"), 400),
    "no host with an absolute target": (head(start=b"GET http://a/echo HTTP/1.1", host=b""), 400),
    "two keys": (head(b"authorization: Bearer a", b"authorization: Bearer b"), 400),
    "two other keys": (head(b"x-api-key: a", b"x-api-key: b"), 400),
    "two content types": (head(b"content-type: a", b"content-type: b"), 400),
    "two expectations": (
        head(b"expect: 100-continue", b"expect: 100-continue", b"content-length: 3") + b"abc",
        400,
    ),
    "two packings": (head(b"content-encoding: gzip", b"content-encoding: identity"), 400),
    # The request line.
    "tab for a space": (head(start=b"GET\t/echo\tHTTP/1.1"), 400),
    "space before the method": (head(start=b" GET /echo HTTP/1.1"), 400),
    "space after the version": (head(start=b"GET /echo HTTP/1.1 "), 400),
    "space in the target": (head(start=b"GET /ec ho HTTP/1.1"), 400),
    "unknown method": (head(start=b"STEAL /echo HTTP/1.1"), 400),
    "method in lower case": (head(start=b"get /echo HTTP/1.1"), 400),
    "no version": (b"GET /echo\r\nhost: a\r\n\r\n", 505),
    "HTTP/0.9": (head(start=b"GET /echo HTTP/0.9"), 505),
    "HTTP/2.0": (head(start=b"GET /echo HTTP/2.0"), 505),
    "HTTP/1.2": (head(start=b"GET /echo HTTP/1.2"), 400),
    "HTTP/01.1": (head(start=b"GET /echo HTTP/01.1"), 400),
    "version in lower case": (head(start=b"GET /echo http/1.1"), 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "relative target": (head(start=b"GET echo HTTP/1.1"), 400),
    "octets above ASCII in the target": (head(start=b"GET /\xc3\xa9 HTTP/1.1"), 400),
    # A tunnel that is not granted: what follows the head is its body to one reader, a request to another.
    "CONNECT": (head(start=b"CONNECT a:443 HTTP/1.1"), 404),
    "CONNECT with a length": (head(b"content-length: 3", start=b"CONNECT a:443 HTTP/1.1"), 404),
}


@pytest.mark.parametrize(("request_bytes", "status"), REFUSED.values(), ids=REFUSED)
def test_refused_and_closed(request_bytes: bytes, status: int) -> None:
    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            await client.send(request_bytes + NEXT)
            reply = await client.reply()
            assert (reply.status, reply.closes) == (status, True), reply.body
            assert reply.json["error"]["type"] == "invalid_request_error"
            assert await client.ended() == b""
            assert service.seen == []

    run(main())


@pytest.mark.parametrize(("request_bytes", "status"), REFUSED.values(), ids=REFUSED)
def test_refused_byte_by_byte(request_bytes: bytes, status: int) -> None:
    if len(request_bytes) > 10_000:
        request_bytes = request_bytes[:5000]

    async def main() -> None:
        async with echoing() as service:
            connection = service.server.connections
            client = await service.connect()
            await client.send(b"\r\n")
            while not connection:
                await client.writer.drain()
            (protocol,) = connection
            for octet in request_bytes + NEXT:
                protocol.data_received(bytes([octet]))
            if status != 413:
                reply = await client.reply()
                assert (reply.status, reply.closes) == (status, True), reply.body
                assert await client.ended() == b""
            assert service.seen == []

    run(main())


ACCEPTED: dict[str, tuple[bytes, bytes]] = {
    "length": (sized(b"3"), b"abc"),
    "length with spaces around": (head(b"content-length:  3  ") + b"abc", b"abc"),
    "length with a leading zero": (sized(b"003"), b"abc"),
    "no body": (head(), b""),
    "coding": (coded(b"chunked"), b"abc"),
    "coding in capitals": (coded(b"CHUNKED"), b"abc"),
    "tab before the coding": (coded(b"\tchunked"), b"abc"),
    "no space before the coding": (head(b"transfer-encoding:chunked") + ABC, b"abc"),
    "underscores make another header": (
        head(b"transfer_encoding: chunked", b"content-length: 3") + b"abc",
        b"abc",
    ),
    "several chunks": (in_chunks(b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"), b"abc"),
    "zeros before a chunk size": (in_chunks(b"0000000003\r\nabc\r\n000\r\n\r\n"), b"abc"),
    "chunk size in capitals": (in_chunks(b"A\r\n0123456789\r\n0\r\n\r\n"), b"0123456789"),
    "chunk extension": (in_chunks(b'3;a=b;c="d;e"\r\nabc\r\n0;x\r\n\r\n'), b"abc"),
    "trailer": (in_chunks(b"3\r\nabc\r\n0\r\nx: y\r\n\r\n"), b"abc"),
    "key in a trailer": (in_chunks(b"3\r\nabc\r\n0\r\nauthorization: Bearer x\r\nhost: z\r\n\r\n"), b"abc"),
    "upgrade in a trailer": (
        in_chunks(b"3\r\nabc\r\n0\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
        b"abc",
    ),
    "a body that looks like requests": (head(b"content-length: %d" % len(NEXT)) + NEXT, NEXT),
    "a chunk that looks like a request": (in_chunks(b"%x\r\n%b\r\n0\r\n\r\n" % (len(NEXT), NEXT)), NEXT),
    "empty lines before the request": (b"\r\n\r\n" + sized(b"3"), b"abc"),
    "absolute target, another host": (head(start=b"POST http://other/echo HTTP/1.1"), b""),
    "octets above ASCII in a value": (head(b"x: \xe4\xf6", b"content-length: 3") + b"abc", b"abc"),
    "unasked upgrade with a length": (
        head(b"upgrade: h2c", b"connection: upgrade", b"content-length: %d" % len(NEXT)) + NEXT,
        NEXT,
    ),
    "unasked upgrade with chunks": (
        head(b"upgrade: h2c", b"connection: upgrade", b"transfer-encoding: chunked")
        + b"%x\r\n%b\r\n0\r\n\r\n" % (len(NEXT), NEXT),
        NEXT,
    ),
}


@pytest.mark.parametrize(("request_bytes", "body"), ACCEPTED.values(), ids=ACCEPTED)
@pytest.mark.parametrize("pieces", [1, 0], ids=["whole", "byte by byte"])
def test_accepted_and_in_step(request_bytes: bytes, body: bytes, pieces: int) -> None:
    """The request is read to its very end, and the next one is read from its very beginning."""

    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            data = request_bytes + b"GET /echo?next HTTP/1.1\r\nhost: a\r\nx: y\r\n\r\n"
            await send(client, data, pieces)
            first, second = await client.reply(), await client.reply()
            assert (first.status, first.body) == (200, body)
            assert (second.status, second.body) == (200, b"")
            assert [request.target.removeprefix(b"http://other") for request in service.seen] == [
                b"/echo",
                b"/echo?next",
            ]
            assert service.seen[1].lines == [(b"host", b"a"), (b"x", b"y")]
            # Nor does a trailer become a header of its own request.
            assert b"authorization" not in dict(service.seen[0].lines)

    run(main())


async def send(client: Client, data: bytes, pieces: int) -> None:
    if pieces:
        await client.send(data)
    else:
        await client.send(*(bytes([octet]) for octet in data))
