"""`python -m bench.inside [whole|burst]`: what a request costs the gate's own code, without the kernel.

Real edge, gateway, pool, journal and metrics in one process, on transports that do nothing; sixteen requests
at a time, as on a busy gate. Steadier than any measure over sockets: within a few percent, also where others
work. `--steps` lists the interpreter's steps by function instead, which do not vary at all.
"""

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CoroutineType, FrameType
from typing import Any, TypeVar, cast

import uvloop

from bench.contestants import KEY
from bench.load import chat_body, request_bytes
from headgate.backends.connection import Connection as UpstreamConnection
from headgate.backends.pool import Pool
from headgate.backends.upstreams import Place, RemoteUpstream
from headgate.core.address import parse_base_url
from headgate.core.settings import Server as ServerSettings
from headgate.core.settings_telemetry import Log
from headgate.core.settings_telemetry import Telemetry as TraceSettings
from headgate.dialects.openai import OpenAI
from headgate.edge.connection import Connection as ClientConnection
from headgate.edge.route import Route, Routes
from headgate.edge.server import Server
from headgate.endpoints import CHAT_COMPLETIONS
from headgate.gateway.choose import Target
from headgate.gateway.pipeline import Gate
from headgate.gateway.route import Models
from headgate.gateway.stream import Pace
from headgate.store.journal import FileJournal
from headgate.store.keys import MASTER, KeyTable, hash_key
from headgate.telemetry.observer import Telemetry

AT_ONCE = 16
TURNS = 200
BEST_OF = 9  # what disturbs a round can only make it longer
WORDS = 100
Side = TypeVar("Side", ClientConnection, UpstreamConnection)
USAGE = '"usage":{"prompt_tokens":200,"completion_tokens":100,"total_tokens":300}'
CHUNK = 'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"bench-model",'
WORD = (
    CHUNK + '"choices":[{"index":0,"delta":{"content":" water"},"logprobs":null,"finish_reason":null}]}\n\n'
)
END = CHUNK + '"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}\n\n'


class Nowhere:
    """A transport that keeps what is written until it is asked."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Takes bytes."""
        self.written.append(data)

    def is_closing(self) -> bool:
        """Never."""
        return False

    def get_write_buffer_size(self) -> int:
        """All has been sent."""
        return 0

    def set_write_buffer_limits(self, high: int) -> None:
        """There is no limit."""


def replies() -> dict[str, bytes]:
    """What the upstream answers."""
    words = " ".join(["water"] * 150)
    message = f'{{"index":0,"message":{{"role":"assistant","content":"{words}"}},"finish_reason":"stop"}}'
    body = f'{{"id":"chatcmpl-1","model":"bench-model","choices":[{message}],{USAGE}}}'
    events = [WORD] * WORDS + [END, CHUNK + f'"choices":[],{USAGE}}}\n\n', "data: [DONE]\n\n"]
    stream = "".join(f"{len(event):x}\r\n{event}\r\n" for event in events) + "0\r\n\r\n"
    head = "HTTP/1.1 200 OK\r\nDate: Mon, 24 Nov 2025 16:00:00 GMT\r\nServer: bench\r\n"
    json = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    sse = f"{head}Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n{stream}"
    return {"whole": json.encode(), "burst": sse.encode()}


class Inside:
    """A gate and both ends of its connections."""

    def __init__(self, folder: Path, kind: str) -> None:
        keys = KeyTable()
        keys.put(hash_key(KEY), MASTER)
        self.journal = FileJournal.start(folder / "journal")
        address = parse_base_url("http://127.0.0.1:9/v1")
        pool = Pool(address)
        upstream = RemoteUpstream("bench", OpenAI(), Place(pool, address), None)
        models = Models({"bench-model": Target("bench-model", upstream, "bench-model", 0, "bench")})
        gate = Gate(keys, self.journal, models, Pace(5000, 15000))
        path, limit_bytes = CHAT_COMPLETIONS.path, CHAT_COMPLETIONS.body_limit_bytes
        route = Route("POST", path, gate.handler(CHAT_COMPLETIONS), limit_bytes)
        server = Server(Routes([route]), ServerSettings())
        self._telemetry = Telemetry(Log(requests=False), TraceSettings(), {})
        gate.observer = server.observer = self._telemetry
        self._server = server
        self._clients = [connected(ClientConnection(server)) for _ in range(AT_ONCE)]
        self._upstreams = [connected(pool._make()) for _ in range(AT_ONCE)]
        for _, connection in self._upstreams:
            pool._all.add(connection)
            pool._idle.append(connection)
        body = chat_body(stream=kind == "burst")
        self._request = request_bytes(9, body, {"Authorization": f"Bearer {KEY}"})
        self._reply = replies()[kind]

    def stop(self) -> None:
        """Ends what runs by itself; connections to nowhere need no end."""
        self._telemetry.stop()
        self.journal.stop()

    async def turn(self) -> None:
        """One request on each connection, from its bytes to its reply's."""
        for _, client in self._clients:
            client.data_received(self._request)
        await until(lambda: all(nowhere.written for nowhere, _ in self._upstreams))
        for nowhere, upstream in self._upstreams:
            nowhere.written.clear()
            upstream.data_received(self._reply)
        await until(lambda: not any(client._current for _, client in self._clients))
        for nowhere, _ in self._clients:
            reply = b"".join(nowhere.written)
            assert reply.startswith(b"HTTP/1.1 200 OK"), reply
            nowhere.written.clear()


def connected(side: Side) -> tuple[Nowhere, Side]:
    """A connection on a transport of its own."""
    nowhere = Nowhere()
    side.connection_made(cast(asyncio.BaseTransport, nowhere))
    return nowhere, side


async def until(condition: Callable[[], bool]) -> None:
    """Gives the loop turns until something is so."""
    while not condition():  # noqa: ASYNC110 -- turns of the loop are what is measured
        await asyncio.sleep(0)


async def microseconds(inside: Inside) -> float:
    """CPU time of one request, in the best of a few rounds."""
    await inside.turn()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # as `headgate serve` sets it
    best_s = float("inf")
    for _ in range(BEST_OF):
        began_s = time.thread_time()
        for _ in range(TURNS):
            await inside.turn()
        best_s = min(best_s, time.thread_time() - began_s)
    return best_s / TURNS / AT_ONCE * 1e6


async def steps(inside: Inside) -> Counter[str]:
    """How many bytecode instructions one request takes, by function."""
    for _ in range(3):
        await inside.turn()
    counted: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            counted[f"{frame.f_code.co_filename} {frame.f_code.co_qualname}"] += 1
        return trace

    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        frame = cast("CoroutineType[Any, Any, Any]", task.get_coro()).cr_frame
        if frame is not None:
            frame.f_trace, frame.f_trace_opcodes = trace, True  # it began before we looked
    sys.settrace(trace)
    await inside.turn()
    sys.settrace(None)
    return counted


async def measure(kind: str, *, by_function: bool) -> None:
    """Prints what was asked for."""
    with tempfile.TemporaryDirectory() as folder:
        inside = Inside(Path(folder), kind)
        if not by_function:
            print(f"{kind}: {await microseconds(inside):.2f} us")
        else:
            total = 0
            for name, count in (await steps(inside)).most_common():
                _, ours, function = name.rpartition("/src/headgate/")
                if ours:
                    total += count
                    print(f"{count / AT_ONCE:7.0f}  {function}")
            print(f"{total / AT_ONCE:7.0f}  all")
        inside.stop()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.inside", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=("whole", "burst"), default="whole")
    parser.add_argument("--steps", action="store_true", help="the interpreter's steps by function")
    chosen = parser.parse_args()
    uvloop.run(measure(chosen.kind, by_function=chosen.steps))


if __name__ == "__main__":
    main()
