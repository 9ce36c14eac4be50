"""Sends mutated requests to a running gate, many at once, and judges every reply.

Half are valid HTTP around mutated JSON, half are mutated HTTP. A case is made of seed and number alone.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.edge.mutants import mutated, pipeline
from tests.edge.serving import Client, Reply
from tests.fuzz.bodies import body
from tests.gates import KEY, RunningGate

AT_ONCE = 64
"""Connections that send at the same time."""

LIMIT_S = 60.0
"""Far over the gate's own limits below: whoever waits longer has met a hang."""

SETTINGS = """
[server]
header_timeout_ms = 2000
body_timeout_ms = 2000

[starter]
enabled = false

[[upstream]]
name = "model"
base_url = "http://127.0.0.1:{port}/v1"
models = ["m"]

[[upstream]]
name = "translated"
base_url = "http://127.0.0.1:{port}/v1"
dialect = "llamacpp"
models = ["l"]
"""
"""Requests that are cut short are told so soon; others are never that slow. One model's messages go
as they are, the other's are taken apart and made anew."""

OUR_FAULT = {500, 502, 503, 504}
"""Statuses that nothing in a request explains. (501 and 505: its transfer-coding or version is unknown.)"""

GROWTH_BYTES = 24_000_000
"""What the gate's memory may grow by once it is warm: buffers and caches settle at a few megabytes."""


class Finding(AssertionError):
    """Something that must not be; names the case."""


@dataclass
class Tally:
    """What was met."""

    statuses: Counter[int] = field(default_factory=Counter)
    empty: int = 0
    """Cases of which nothing was left."""

    def __str__(self) -> str:
        return f"{dict(sorted(self.statuses.items()))}, {self.empty} without a request"


def chat(chance: Random) -> bytes:
    """Valid HTTP with mutated JSON in it."""
    data = body(chance)
    lines = [b"host: a", b"authorization: Bearer " + KEY.encode(), b"content-type: application/json"]
    if chance.random() < 0.1:
        data = gzip.compress(data, 1)
        lines.append(b"content-encoding: gzip")
        if chance.random() < 0.5:
            data = mutated(data, chance)
    if chance.random() < 0.7:
        lines.append(b"content-length: %d" % len(data))
    else:
        lines.append(b"transfer-encoding: chunked")
        size = max(chance.choice([1, 7, 100, 10_000]), len(data) // 300)
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return b"\r\n".join([b"POST /v1/chat/completions HTTP/1.1", *lines, b"", b""]) + data


def broken(chance: Random) -> bytes:
    """Something that is nearly HTTP."""
    if chance.random() < 0.4:
        return pipeline(chance)
    data = chat(chance)
    if chance.random() < 0.3:
        data = data.replace(b"POST /v1/chat/completions", chance.choice(OTHERS), 1)
    head_bytes = data.find(b"\r\n\r\n") + 4
    for _ in range(chance.choice([1, 1, 2, 4])):
        # The head decides how all the rest is read: most of what can go wrong goes wrong there.
        head, rest = data[:head_bytes], data[head_bytes:]
        data = mutated(head, chance) + rest if chance.random() < 0.8 else mutated(data, chance)
    return data


OTHERS = [
    b"GET /v1/models",
    b"GET /v1/models/m",
    b"GET /v1/models/%6d%00",
    b"OPTIONS /v1/models",
    b"HEAD /healthz",
]


async def storm(gate: RunningGate, numbers: Iterator[int], seed: int, tally: Tally) -> None:
    """Sends the cases with these numbers; raises Finding."""
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(_sender(gate, numbers, seed, tally))


async def _sender(gate: RunningGate, numbers: Iterator[int], seed: int, tally: Tally) -> None:
    kept: Client | None = None
    for number in numbers:
        chance = Random(f"{seed}:{number}")
        try:
            async with asyncio.timeout(LIMIT_S):
                if number % 2:
                    kept = kept or await connect(gate)
                    if await _well_formed(kept, chat(chance), tally):
                        kept.close()
                        kept = None
                else:
                    await _malformed(await connect(gate), broken(chance), tally)
        except (Finding, TimeoutError, AssertionError, EOFError, ConnectionError) as error:
            raise Finding(f"seed {seed}, case {number}: {error!r}") from error
    if kept is not None:
        kept.close()


async def connect(gate: RunningGate) -> Client:
    """A new connection to the gate."""
    return Client(*await asyncio.open_connection("127.0.0.1", gate.port, limit=2**24))


async def _well_formed(client: Client, request: bytes, tally: Tally) -> bool:
    """One reply, whole, to a request that is valid HTTP; tells whether the connection ends with it."""
    reply = await client.ask(request)
    judge(reply, tally)
    return reply.closes


async def _malformed(client: Client, request: bytes, tally: Tally) -> None:
    """At least one reply, whole, to anything that could begin a request."""
    try:
        client.writer.write(request)
        if not request.strip(b"\r\n"):
            tally.empty += 1
            return
        while True:
            reply = await client.reply(b"HEAD" if b"HEAD " in request else b"GET")
            judge(reply, tally)
            if reply.status >= 200:
                return
    finally:
        client.close()


def judge(reply: Reply, tally: Tally) -> None:
    """Raises Finding for a reply that must not be."""
    tally.statuses[reply.status] += 1
    if reply.status in OUR_FAULT:
        raise Finding(f"{reply.status}: {reply.body[:500]!r}")
    if reply.status >= 400 and reply.body:
        error = json.loads(reply.body)["error"]
        if set(error) != {"message", "type", "param", "code"}:
            raise Finding(f"not an error of OpenAI's shape: {reply.body!r}")
    streamed = reply.header(b"content-type") == b"text/event-stream; charset=utf-8"
    if streamed and not reply.body.endswith(b"data: [DONE]\n\n"):
        raise Finding(f"a stream without its end: {reply.body[-500:]!r}")


@dataclass
class Footprint:
    """What a process has of the machine."""

    memory_bytes: int
    """Of its own: mapped files, such as the journal's, do not count."""
    files: int


def footprint(gate: RunningGate) -> Footprint:
    """The gate's."""
    process = Path(f"/proc/{gate.process.pid}")
    (line,) = (
        line for line in (process / "status").read_text("ascii").splitlines() if line.startswith("RssAnon:")
    )
    return Footprint(int(line.split()[1]) * 1024, len(list((process / "fd").iterdir())))
