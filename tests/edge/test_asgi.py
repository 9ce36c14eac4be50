"""The bridge to ASGI: a framework that did not know of us, and applications that break the rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount
from starlette.routing import Route as Page

from headgate.edge.asgi import Message, Receive, Send, bridge
from headgate.edge.limits import WRITE_BUFFER_BYTES
from headgate.edge.route import Route
from tests.conftest import run
from tests.edge.serving import Service, serving, until

LIMIT_BYTES = 20_000_000
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def bridged(application: Application, **settings: Any) -> AbstractAsyncContextManager[Service]:
    """A server that hands everything below / to an application."""
    handler = bridge(application)
    return serving(Route("GET", "/*", handler), Route("POST", "/*", handler, LIMIT_BYTES), **settings)


def get(path: bytes, *lines: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\nhost: a\r\n%b\r\n" % (path, b"".join(line + b"\r\n" for line in lines))


def post(path: bytes, body: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (path, len(body), body)


# --- a real framework -----------------------------------------------------------------------------------


async def describe(request: Request) -> Response:
    return JSONResponse(
        {
            "method": request.method,
            "path": request.url.path,
            "raw_path": request.scope["raw_path"].decode(),
            "query": dict(request.query_params),
            "headers": dict(request.headers),
            "name": request.path_params.get("name"),
            "client": request.client.host if request.client else None,
            "scheme": request.url.scheme,
        },
        headers={"x-own": "1"},
    )


async def measure(request: Request) -> Response:
    sizes = [len(piece) async for piece in request.stream()]
    return JSONResponse({"bytes": sum(sizes)})


async def stream(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"data: %d\n\n" % number
            await asyncio.sleep(0)

    return StreamingResponse(pieces(), media_type="text/event-stream")


async def redirect(request: Request) -> Response:
    return RedirectResponse("/there")


async def empty(request: Request) -> Response:
    return Response(status_code=204)


async def fail(request: Request) -> Response:
    raise RuntimeError("secret detail")


PAGES = [
    Page("/describe/{name:path}", describe),
    Page("/measure", measure, methods=["POST"]),
    Page("/stream", stream),
    Page("/redirect", redirect),
    Page("/empty", empty),
    Page("/fail", fail),
]


def test_a_framework_sees_the_request() -> None:
    async def main() -> None:
        async with bridged(Starlette(routes=PAGES)) as service:
            client = await service.connect()
            reply = await client.ask(get(b"/describe/a%20b%2Fc/d?x=1&y=%C3%A9", b"x-two: b", b"X-One:  a \t"))
            assert reply.status == 200
            assert reply.header(b"x-own") == b"1"
            assert reply.header(b"content-type") == b"application/json"
            seen = reply.json
            assert seen["method"] == "GET"
            assert seen["path"] == "/describe/a b/c/d"
            assert seen["raw_path"] == "/describe/a%20b%2Fc/d"
            assert seen["name"] == "a b/c/d"
            assert seen["query"] == {"x": "1", "y": "é"}
            assert seen["headers"] == {"host": "a", "x-two": "b", "x-one": "a"}
            assert (seen["client"], seen["scheme"]) == ("127.0.0.1", "http")

    run(main())


def test_a_framework_answers() -> None:
    async def main() -> None:
        inner = Starlette(routes=PAGES)
        for application in (
            inner,
            Starlette(routes=[Mount("/", inner)]),
            Starlette(routes=PAGES, middleware=[Middleware(BaseHTTPMiddleware, dispatch=pass_on)]),
        ):
            async with bridged(application) as service:
                client = await service.connect()
                assert (await client.ask(get(b"/none"))).status == 404
                assert (await client.ask(post(b"/stream", b"x"))).status == 405
                reply = await client.ask(get(b"/redirect"))
                assert (reply.status, reply.header(b"location")) == (307, b"/there")
                assert (await client.ask(get(b"/empty"))).status == 204
                reply = await client.ask(get(b"/stream"))
                assert reply.header(b"transfer-encoding") == b"chunked"
                assert reply.body == b"".join(b"data: %d\n\n" % number for number in range(5))
                reply = await client.ask(b"HEAD /stream HTTP/1.1\r\nhost: a\r\n\r\n", method=b"HEAD")
                assert reply.status == 200
                for size in (0, 1, 100_000, LIMIT_BYTES):
                    reply = await client.ask(post(b"/measure", b"x" * size))
                    assert reply.json == {"bytes": size}
                assert len(service.server.connections) == 1

    async def pass_on(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    run(main())


def test_a_body_over_the_limit_never_reaches_the_application() -> None:
    async def main() -> None:
        async with bridged(Starlette(routes=PAGES)) as service:
            assert (await service.ask(post(b"/measure", b"x" * (LIMIT_BYTES + 1)))).status == 413

    run(main())


def test_an_application_that_fails_says_nothing_of_why(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with bridged(Starlette(routes=PAGES)) as service:
            client = await service.connect()
            for _ in range(2):
                reply = await client.ask(get(b"/fail"))
                assert reply.status == 500
                assert b"secret" not in reply.body

    run(main())
    assert "secret detail" in caplog.text


def test_files_ranges_and_packing(tmp_path: Path) -> None:
    path = tmp_path / "page.txt"
    path.write_bytes(b"0123456789" * 100_000)

    async def page(request: Request) -> Response:
        return FileResponse(path)

    async def main() -> None:
        application = Starlette(
            routes=[Page("/page", page), *PAGES], middleware=[Middleware(GZipMiddleware, minimum_size=10)]
        )
        async with bridged(application) as service:
            client = await service.connect()
            reply = await client.ask(get(b"/page"))
            assert reply.body == path.read_bytes()
            assert reply.header(b"content-length") == b"1000000"
            reply = await client.ask(b"HEAD /page HTTP/1.1\r\nhost: a\r\n\r\n", method=b"HEAD")
            assert reply.header(b"content-length") == b"1000000"
            reply = await client.ask(get(b"/page", b"range: bytes=5-14"))
            assert (reply.status, reply.body) == (206, b"5678901234")
            reply = await client.ask(get(b"/stream", b"accept-encoding: gzip"))
            assert reply.status == 200

    run(main())


def test_background_tasks_run_after_the_reply() -> None:
    async def main() -> None:
        done = asyncio.Event()

        async def later() -> None:
            done.set()

        async def page(request: Request) -> Response:
            return JSONResponse({}, background=BackgroundTask(later))

        async with bridged(Starlette(routes=[Page("/", page), Page("/x", page)])) as service:
            client = await service.connect()
            assert (await client.ask(get(b"/x"))).status == 200
            await done.wait()
            assert (await client.ask(get(b"/x"))).status == 200

    run(main())


def test_a_slow_reader_slows_a_streaming_response() -> None:
    async def main() -> None:
        made = 0
        total = 300

        async def page(request: Request) -> Response:
            async def pieces() -> AsyncIterator[bytes]:
                nonlocal made
                for _ in range(total):
                    made += 1
                    yield b"x" * 100_000

            return StreamingResponse(pieces())

        async with bridged(Starlette(routes=[Page("/x", page)])) as service:
            client = await service.connect(receive_bytes=10_000)
            client.stop_reading()
            await client.send(get(b"/x"))
            await until(lambda: bool(service.server.connections) and service.connection.writing_paused)
            for _ in range(100):
                await asyncio.sleep(0)
            assert made < total // 2
            assert service.connection.transport.get_write_buffer_size() < WRITE_BUFFER_BYTES + 110_000
            client.read_on()
            assert len((await client.reply()).body) == total * 100_000

    run(main())


@pytest.mark.parametrize("ending", ["finish", "close", "reset"])
def test_a_client_that_goes_ends_a_streaming_response(ending: str) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def page(request: Request) -> Response:
            async def pieces() -> AsyncIterator[bytes]:
                try:
                    yield b"data: 1\n\n"
                    await asyncio.Event().wait()
                finally:
                    ended.set()

            return StreamingResponse(pieces(), media_type="text/event-stream")

        async with bridged(Starlette(routes=[Page("/x", page)])) as service:
            client = await service.connect()
            await client.send(get(b"/x"))
            await client.head()
            getattr(client, ending)()
            await ended.wait()
            await until(lambda: not service.server.connections)

    run(main())


def test_a_client_that_goes_before_its_body_is_here() -> None:
    """The body is read whole before the application runs, so that it never sees half of one."""

    async def main() -> None:
        ran: list[str] = []

        async def page(request: Request) -> Response:
            ran.append("begun")
            try:
                await request.body()
            except ClientDisconnect:
                ran.append("disconnected")
            return Response()

        async with bridged(Starlette(routes=[Page("/x", page, methods=["POST"])])) as service:
            client = await service.connect()
            await client.send(post(b"/x", b"abc")[:-1])
            await until(
                lambda: bool(service.server.connections) and service.connection._receiving is not None
            )
            client.close()
            await until(lambda: not service.server.connections)
            assert ran == []

    run(main())


# --- the protocol itself ------------------------------------------------------------------------------------

START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


def started(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def piece(body: bytes, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


def sends(*messages: Message) -> Application:
    """An application that sends these, whatever was asked."""

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return application


def test_receive_gives_the_body_once_and_then_the_end() -> None:
    async def main() -> None:
        received: list[Message] = []
        later: list[asyncio.Task[Message]] = []

        async def application(scope: Message, receive: Receive, send: Send) -> None:
            received.append(await receive())
            # Someone may go on listening after the reply: it must be told, and not wait for ever.
            later.append(asyncio.ensure_future(receive()))
            await asyncio.sleep(0)
            assert not later[-1].done()
            await send(START)
            await send(piece(b"ok"))

        async with bridged(application) as service:
            client = await service.connect()
            for _ in range(2):
                assert (await client.ask(post(b"/x", b"abc"))).body == b"ok"
                assert await later[-1] == {"type": "http.disconnect"}
            assert received == [{"type": "http.request", "body": b"abc", "more_body": False}] * 2

    run(main())


GOOD: dict[str, tuple[tuple[Message, ...], int, bytes]] = {
    "whole": ((START, piece(b"abc")), 200, b"abc"),
    "nothing but a start and an end": ((START, {"type": "http.response.body"}), 200, b""),
    "no headers": (({"type": "http.response.start", "status": 200}, piece(b"abc")), 200, b"abc"),
    "pieces": ((START, piece(b"a", True), piece(b"", True), piece(b"bc", True), piece(b"")), 200, b"abc"),
    "pieces of known length": (
        (started((b"Content-Length", b"3")), piece(b"a", True), piece(b"bc")),
        200,
        b"abc",
    ),
    "whole, of known length": ((started((b"content-length", b"3")), piece(b"abc")), 200, b"abc"),
    "bytearray": ((START, {"type": "http.response.body", "body": bytearray(b"abc")}), 200, b"abc"),
    "no content": ((started(status=204), piece(b"")), 204, b""),
    "no content in pieces": ((started(status=204), piece(b"", True), piece(b"")), 204, b""),
    "not modified": ((started((b"content-length", b"5"), (b"etag", b"1"), status=304), piece(b"")), 304, b""),
    "own framing is ours to choose": (
        (
            started((b"transfer-encoding", b"chunked"), (b"connection", b"close"), (b"date", b"x")),
            piece(b"abc"),
        ),
        200,
        b"abc",
    ),
}


@pytest.mark.parametrize(("messages", "status", "body"), GOOD.values(), ids=GOOD)
def test_replies(messages: tuple[Message, ...], status: int, body: bytes) -> None:
    async def main() -> None:
        async with bridged(sends(*messages)) as service:
            client = await service.connect()
            for _ in range(2):
                reply = await client.ask(get(b"/x"))
                assert (reply.status, reply.body, reply.closes) == (status, body, False)
                assert reply.header(b"date") != b"x"
                reply = await client.ask(b"HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n", method=b"HEAD")
                assert reply.status == status

    run(main())


BROKEN: dict[str, tuple[Message, ...]] = {
    "nothing": (),
    "a start alone": (START,),
    "a body alone": (piece(b"abc"),),
    "two starts": (START, START),
    "another message": ({"type": "http.response.push"},),
    "shorter than it says": (started((b"content-length", b"5")), piece(b"abc")),
    "longer than it says": (started((b"content-length", b"2")), piece(b"abc")),
    "a length that is none": (started((b"content-length", b"x")), piece(b"abc")),
    "a line end in a value": (started((b"x", b"a\r\nset-cookie: b")), piece(b"abc")),
    "a bare LF in a value": (started((b"x", b"a\nb")), piece(b"abc")),
    "NUL in a value": (started((b"x", b"a\x00b")), piece(b"abc")),
    "a colon in a name": (started((b"x: y", b"a")), piece(b"abc")),
    "a line end in a name": (started((b"x\r\ny", b"a")), piece(b"abc")),
    "an empty name": (started((b"", b"a")), piece(b"abc")),
}


@pytest.mark.parametrize("messages", BROKEN.values(), ids=BROKEN)
def test_an_application_that_breaks_the_rules_gets_a_500(
    messages: tuple[Message, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with bridged(sends(*messages)) as service:
            client = await service.connect()
            for _ in range(2):
                reply = await client.ask(get(b"/x"))
                assert (reply.status, reply.closes) == (500, False)
                assert reply.header(b"set-cookie") is None

    run(main())
    assert "failed" in caplog.text


CUT_OFF: dict[str, tuple[tuple[Message, ...], bytes]] = {
    "no end": ((START, piece(b"abc", True)), b"3\r\nabc\r\n"),
    "shorter than it said": ((started((b"content-length", b"9")), piece(b"abc", True), piece(b"")), b"abc"),
    "longer than it said": ((started((b"content-length", b"4")), piece(b"abc", True), piece(b"def")), b"abc"),
    "longer, and more to come": (
        (started((b"content-length", b"4")), piece(b"abc", True), piece(b"def", True)),
        b"abc",
    ),
    "another start": ((START, piece(b"abc", True), START), b"3\r\nabc\r\n"),
}


@pytest.mark.parametrize(("messages", "sent"), CUT_OFF.values(), ids=CUT_OFF)
def test_a_reply_that_breaks_the_rules_is_cut_off(messages: tuple[Message, ...], sent: bytes) -> None:
    """The next reply on the connection would be taken for the rest of this one."""

    async def main() -> None:
        async with bridged(sends(*messages)) as service:
            client = await service.connect()
            await client.send(get(b"/x") + get(b"/x"))
            await client.head()
            assert await client.ended() == sent

    run(main())


def test_nothing_may_follow_the_end() -> None:
    async def main() -> None:
        async with bridged(sends(START, piece(b"abc"), piece(b"def"))) as service:
            client = await service.connect()
            for _ in range(2):
                assert (await client.ask(get(b"/x"))).body == b"abc"

    run(main())
