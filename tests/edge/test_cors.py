"""What browsers are told: on replies, on refusals, and before the real request."""

from __future__ import annotations

import pytest

from tests.conftest import run
from tests.edge.serving import Reply, echoing

ALLOW = b"access-control-allow-origin"


def options(path: bytes = b"/echo", *lines: bytes) -> bytes:
    extra = b"".join(line + b"\r\n" for line in lines)
    return b"OPTIONS %b HTTP/1.1\r\nhost: a\r\norigin: https://page.example\r\n%b\r\n" % (path, extra)


def fetch(request: bytes, origins: tuple[str, ...] = ("*",)) -> Reply:
    async def main() -> Reply:
        async with echoing(cors_origins=origins) as service:
            return await service.ask(request)

    return run(main())


def test_preflight() -> None:
    reply = fetch(
        options(
            b"/echo",
            b"access-control-request-method: POST",
            b"access-control-request-headers: authorization, content-type, x-stainless-lang",
        )
    )
    assert reply.status == 204
    assert reply.header(ALLOW) == b"*"
    assert reply.header(b"access-control-allow-methods") == b"GET, HEAD, OPTIONS, POST"
    assert reply.header(b"access-control-allow-headers") == b"authorization, content-type, x-stainless-lang"
    assert reply.header(b"access-control-max-age") == b"7200"
    assert reply.header(b"access-control-allow-credentials") is None


def test_a_reply_to_a_page() -> None:
    reply = fetch(b"GET /echo HTTP/1.1\r\nhost: a\r\norigin: https://page.example\r\n\r\n")
    assert (reply.status, reply.header(ALLOW)) == (200, b"*")
    assert b"x-request-id" in (reply.header(b"access-control-expose-headers") or b"")


def test_a_refusal_can_be_read_by_a_page() -> None:
    reply = fetch(b"GET /none HTTP/1.1\r\nhost: a\r\norigin: https://page.example\r\n\r\n")
    assert (reply.status, reply.header(ALLOW)) == (404, b"*")


def test_no_page_no_header() -> None:
    reply = fetch(b"GET /echo HTTP/1.1\r\nhost: a\r\n\r\n")
    assert reply.header(ALLOW) is None


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (b"https://page.example", True),
        (b"http://page.example", False),
        (b"https://page.example.evil", False),
        (b"https://evil/https://page.example", False),
        (b"HTTPS://PAGE.EXAMPLE", False),
        (b"null", False),
        (b"*", False),
    ],
)
def test_listed_origins_only(origin: bytes, allowed: bool) -> None:
    for method in (b"GET", b"OPTIONS"):
        reply = fetch(
            b"%b /echo HTTP/1.1\r\nhost: a\r\norigin: %b\r\n\r\n" % (method, origin),
            ("https://page.example",),
        )
        assert reply.status in (200, 204)
        assert reply.header(ALLOW) == (origin if allowed else None)
        assert reply.header(b"vary") == b"origin"
        if not allowed:
            assert reply.header(b"access-control-allow-methods") is None


def test_asked_headers_are_not_echoed_raw() -> None:
    reply = fetch(options(b"/echo", b'access-control-request-headers: a"<script>;b: c\xff' + b"d" * 5000))
    allowed = reply.header(b"access-control-allow-headers") or b""
    assert allowed.startswith(b"ascriptb c")
    assert len(allowed) == 4096


def test_options_without_a_page_names_the_methods() -> None:
    reply = fetch(b"OPTIONS /echo HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (reply.status, reply.header(b"allow")) == (204, b"GET, HEAD, OPTIONS, POST")


def test_options_of_nothing() -> None:
    assert fetch(options(b"/none")).status == 404
    assert fetch(options(b"*")).status == 404


@pytest.mark.parametrize(
    "body",
    [b"content-length: 3\r\n\r\nabc", b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"],
    ids=["length", "chunks"],
)
def test_options_with_a_body(body: bytes) -> None:
    """Never kept: the body may come before anyone has looked at the head."""

    async def main() -> None:
        async with echoing() as service:
            client = await service.connect()
            await client.send(b"OPTIONS /echo HTTP/1.1\r\nhost: a\r\n" + body)
            reply = await client.reply()
            assert reply.status in (204, 413)
            if not reply.closes:
                assert (await client.ask(b"GET /echo HTTP/1.1\r\nhost: a\r\n\r\n")).status == 200
            assert all(seen.method == b"GET" for seen in service.seen)

    run(main())


def test_the_wrong_method_names_the_right_ones() -> None:
    reply = fetch(b"DELETE /echo HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (reply.status, reply.header(b"allow")) == (405, b"GET, HEAD, POST")
