"""Which models an upstream has: every shape of such a list, and an upstream that cannot say."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from headgate.backends.discover import ask, read_list, watch
from headgate.backends.upstreams import Place
from headgate.core.address import Address
from headgate.core.errors import UpstreamFailed
from headgate.dialects.openai import bearer
from tests.backends.scripted import Line, pooled, scripted, until
from tests.conftest import run


def reply(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


def listed(*names: str) -> bytes:
    data = [{"id": name, "object": "model", "created": 1, "owned_by": "x"} for name in names]
    return json.dumps({"object": "list", "data": data}).encode()


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (listed("a", "b/c", "a"), ("a", "b/c")),
        (b'{"data":[],"object":"list"}', ()),
        (b'[{"id":"a"},{"id":"b"}]', ("a", "b")),
        (b'{"models":[{"name":"models/gemini-x","version":"1"}]}', ("gemini-x",)),
        (b'{"data":[{"id":"has space"},{"id":""},{"id":"ok"}]}', ("ok",)),
    ],
)
def test_lists(body: bytes, names: tuple[str, ...]) -> None:
    assert read_list(body) == names


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"data":3}', b'{"data":[3]}', b'"x"', b"[" * 9999])
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="no list of models"):
        read_list(body)


def test_it_is_asked_with_key_and_query() -> None:
    seen: list[bytes] = []

    async def script(line: Line) -> None:
        seen.append(await line.request())
        await line.send(reply(listed("a")))

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            address = Address("127.0.0.1", upstream.port, prefix="/v1")
            place = Place(pool, address, bearer("sk-1"), [("tenant", "b c")])
            assert await ask(place, "/models?limit=1000") == ("a",)

    run(main())
    assert seen[0].startswith(b"GET /v1/models?limit=1000&tenant=b%20c HTTP/1.1\r\n")
    assert b"authorization: Bearer sk-1\r\n" in seen[0]


@pytest.mark.parametrize("status", [b"401 No", b"404 No", b"500 No", b"302 No"])
def test_a_status_is_no_list(status: bytes) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(reply(listed("a"), status))

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            with pytest.raises(UpstreamFailed, match=status[:3].decode()):
                await ask(Place(pool, upstream.address), "/models")

    run(main())


def test_it_tells_changes_only_and_outlives_failures(caplog: pytest.LogCaptureFixture) -> None:
    answers = [
        reply(b"busy", b"500 No"),
        reply(b"busy", b"500 No"),
        reply(listed("a")),
        reply(listed("a")),
        reply(b"busy", b"500 No"),
        reply(listed("a", "b")),
    ]
    told: list[tuple[str, ...]] = []

    async def script(line: Line) -> None:
        while answers:
            await line.request()
            await line.send(answers.pop(0))
        await line.gone()

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            place = Place(pool, upstream.address, bearer("sk-secret"))
            task = asyncio.create_task(watch("far", place, "/models", 1, told.append))
            await until(lambda: len(told) == 2)
            task.cancel()
            await asyncio.wait([task])

    with caplog.at_level(logging.WARNING, "headgate.backends"):
        run(main())
    assert told == [("a",), ("a", "b")]
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == 'upstream "far": its models cannot be listed: the answer has the status 500'
    assert len(lines) == 2, "once for each time that it began to fail"
    assert "sk-secret" not in caplog.text
