"""Makes requests that are nearly right, the same ones for the same seed. Knows nothing of who reads them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

STARTS = [
    b"GET /a HTTP/1.1",
    b"POST /a?b=c HTTP/1.1",
    b"POST /a HTTP/1.0",
    b"HEAD / HTTP/1.1",
    b"DELETE /a/b HTTP/1.1",
]
TARGETS = [
    b"*",
    b"http://h/a",
    b"//a",
    b"/%00",
    b"/a#b",
    b"/\xff",
    b"a",
    b"/a b",
    b"?a",
    b"http://h",
    b"/" + b"a" * 500,
]
LINES = [
    b"accept: */*",
    b"Authorization: Bearer x",
    b"connection: keep-alive",
    b"Connection: Upgrade",
    b"content-type: application/json",
    b"expect: 100-continue",
    b"te: trailers",
    b"upgrade: h2c",
    b"x-empty:",
    b"x-spaces: \t a \t ",
    b"x-high: \xe4\xff",
]
RISKY = [
    b"connection: close",
    b"content-length: 0",
    b"content-length: 3",
    b"Content-Length: 5",
    b"host: b",
    b"transfer-encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"transfer-encoding: identity",
]
BITS = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b" ", b"\t", b":", b",", b";", b"\x00", b"\x0b", b"\x7f",
    b"\x80", b"\xa0", b"0", b"1", b"-", b"+", b"0x", b"_", b'"', b"chunked", b"HTTP/1.1", b"HTTP/1.0",
    b"RTSP/1.0", b"a: b\r\n", b" a: b\r\n", b"0\r\n\r\n", b"3\r\nabc\r\n", b"3;a=b\r\nabc\r\n",
    b"GET /s HTTP/1.1\r\nhost: s\r\n\r\n",
]  # fmt: skip


def request(chance: Random) -> bytes:
    """One request that may be valid."""
    start = chance.choice(STARTS)
    if chance.random() < 0.1:
        method, _, version = start.split(b" ")
        start = b" ".join((method, chance.choice(TARGETS), version))
    lines = [b"host: a"] if chance.random() < 0.95 else []
    lines += chance.sample(LINES, chance.choice([0, 0, 1, 1, 2, 3]))
    if chance.random() < 0.15:
        lines.append(chance.choice(RISKY))
    chance.shuffle(lines)
    body = b""
    if start.startswith(b"POST") and chance.random() < 0.8:
        pieces = [chance.randbytes(chance.randint(1, 20)) for _ in range(chance.randint(0, 3))]
        if chance.random() < 0.5:
            body = b"".join(pieces)
            lines.append(b"content-length: %d" % len(body))
        else:
            lines.append(b"transfer-encoding: chunked")
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            body += b"0\r\n" + chance.choice([b"", b"", b"a: b\r\n"]) + b"\r\n"
    return b"\r\n".join([start, *lines, b"", b""]) + body


def mutated(data: bytes, chance: Random, bits: list[bytes] = BITS) -> bytes:
    """The same with one small thing wrong, more or less."""
    place = chance.randrange(len(data) + 1)
    end = min(len(data), place + chance.choice([1, 1, 1, 2, 5, 20]))
    changes: list[Callable[[], bytes]] = [
        lambda: data[:place] + chance.choice(bits) + data[place:],
        lambda: data[:place] + chance.choice(bits) + data[end:],
        lambda: data[:place] + data[end:],
        lambda: data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :],
        lambda: data[:end] + data[place:],
        lambda: data[:place],
        lambda: swapped(data, chance),
        lambda: repeated(data, chance),
    ]
    return chance.choices(changes, [6, 6, 3, 6, 2, 1, 2, 2])[0]()


def swapped(data: bytes, chance: Random) -> bytes:
    """Two lines in each other's place."""
    lines = data.split(b"\r\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\r\n".join(lines)


def repeated(data: bytes, chance: Random) -> bytes:
    """A line twice."""
    lines = data.split(b"\r\n")
    one = chance.randrange(len(lines))
    lines.insert(chance.randrange(len(lines)), lines[one])
    return b"\r\n".join(lines)


def pipeline(chance: Random) -> bytes:
    """One to three requests behind each other, with nothing to a few things wrong."""
    data = b"".join(request(chance) for _ in range(chance.choice([1, 1, 2, 3])))
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3])):
        data = mutated(data, chance)
    return data
