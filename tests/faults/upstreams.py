"""The upstreams of the fault run, on real sockets: two that are well, and one that is not, in many places."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import trustme

from tests.backends.certificates import Authority
from tests.backends.scripted import Line, Script, Upstream, scripted
from tests.conftest import unused_port
from tests.faults.asked import JSON_HEAD, LAST, STREAM_HEAD, Answer, begun, chunk, read, with_length
from tests.faults.misbehave import HangUp, answer
from tests.faults.table import BY_NAME

GOOD = ("good-1", "good-2")


@dataclass
class Upstreams:
    """Where they are, and what they were asked."""

    authority: Path
    """PEM file of who signed the certificates that are right."""
    ports: dict[str, int] = field(default_factory=dict)
    """By name of the good ones, and by place of the bad one."""
    asked: Counter[str] = field(default_factory=Counter)
    """Requests that the bad one met, by fault; connections, where nothing can be asked."""
    tries: Counter[int] = field(default_factory=Counter)
    """How often each request was seen, anywhere."""


@asynccontextmanager
async def upstreams(folder: Path) -> AsyncIterator[Upstreams]:
    """All of them, while the block runs."""
    authority, stranger = Authority(folder), trustme.CA()
    made = Upstreams(authority.file)
    async with AsyncExitStack() as stack:

        async def listen(name: str, script: Script, tls: ssl.SSLContext | None = None) -> None:
            upstream: Upstream = await stack.enter_async_context(scripted(script, tls=tls))
            made.ports[name] = upstream.port

        for name in GOOD:
            await listen(name, _well(made, name))
        await listen("plain", _scripted(made))
        made.ports["slow name"] = made.ports["plain"]
        made.ports["closed"] = unused_port()
        await listen("expired", _scripted(made), authority.server(expired=True))
        await listen("other name", _scripted(made), authority.server("elsewhere.test"))
        unknown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        stranger.issue_cert("localhost").configure_cert(unknown)
        await listen("unknown authority", _scripted(made), unknown)
        await listen("changing", _scripted(made, close=True), _changing(authority, stranger))
        yield made


def _well(made: Upstreams, name: str) -> Script:
    async def script(line: Line) -> None:
        while True:
            request = await line.request()
            asked = read(request)
            made.tries[asked.number] += 1
            said = Answer(name, begun(request))
            if asked.stream:
                await line.send(STREAM_HEAD, *map(chunk, said.events()), LAST)
            else:
                await line.send(with_length(JSON_HEAD, said.whole()))

    return script


def _scripted(made: Upstreams, *, close: bool = False) -> Script:
    async def script(line: Line) -> None:
        while True:
            asked = read(await line.request())
            made.tries[asked.number] += 1
            made.asked[asked.fault] += 1
            try:
                await (answer if close else BY_NAME[asked.fault].script)(line, asked)
            except HangUp:
                return
            if close:
                return

    return script


def _changing(authority: Authority, stranger: trustme.CA) -> ssl.SSLContext:
    """Shows the next certificate to every connection: renewed, renewed again, signed by a stranger."""
    signers = (authority.ca, authority.ca, stranger)
    contexts = []
    for signer in signers:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        signer.issue_cert("localhost").configure_cert(context)
        contexts.append(context)
    turn = count()
    front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.ca.issue_cert("localhost").configure_cert(front)

    def change(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _front: ssl.SSLContext) -> None:
        connection.context = contexts[next(turn) % len(contexts)]

    front.sni_callback = change
    return front
