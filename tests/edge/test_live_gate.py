"""A real `headgate serve` between clients and an upstream: signals, hang-ups, slow readers, rights."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from tests.backends.scripted import Line, Script, Upstream, scripted
from tests.conftest import run
from tests.edge.serving import Client, Reply, until
from tests.gates import KEY, RunningGate

StartGate = Callable[..., RunningGate]

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def event(content: str, finish: str | None = None) -> bytes:
    chunk = {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}],
    }
    return b"data: %b\n\n" % json.dumps(chunk).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


WHOLE = json.dumps(
    {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()


class Model:
    """An upstream that begins a stream, and ends it when the test lets it; it sees when we hang up."""

    def __init__(self) -> None:
        self.going = asyncio.Event()
        self.requests = 0
        self.gone = 0

    async def __call__(self, line: Line) -> None:
        while True:
            request = await line.request()
            self.requests += 1
            if b'"stream":true' not in request.replace(b" ", b""):
                await line.send(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                    % (len(WHOLE), WHOLE)
                )
                continue
            await line.send(SSE + chunk(event("one")))
            going = asyncio.ensure_future(self.going.wait())
            gone = asyncio.ensure_future(line.gone())
            await asyncio.wait([going, gone], return_when=asyncio.FIRST_COMPLETED)
            going.cancel()
            if gone.done():
                self.gone += 1
                return
            gone.cancel()
            await asyncio.wait([gone])
            await line.send(chunk(event("two", "stop") + DONE) + b"0\r\n\r\n")


def settings(port: int, server: str = "", model: str = "m") -> str:
    return f"""
[server]
{server}

[starter]
enabled = false

[[upstream]]
name = "one"
base_url = "http://127.0.0.1:{port}/v1"
models = ["{model}"]
"""


@dataclass
class Door:
    """A running gate, and those who knock."""

    gate: RunningGate
    tls: ssl.SSLContext | None = None
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        name = "localhost" if self.tls else None
        client = Client(
            *await asyncio.open_connection("127.0.0.1", self.gate.port, ssl=self.tls, server_hostname=name)
        )
        self.clients.append(client)
        return client

    async def stream(self) -> Client:
        """A client whose stream has begun."""
        client = await self.connect()
        await client.send(chat(stream=True))
        status, _ = await client.head()
        assert status == 200
        await client.reader.readuntil(b"\r\n")
        assert b'"one"' in await client.reader.readuntil(b"\n\n\r\n")
        return client

    async def ask(self, request: bytes) -> Reply:
        """One request on a connection of its own."""
        client = await self.connect()
        try:
            return await client.ask(request)
        finally:
            client.close()

    async def ended(self) -> int:
        """Waits for the gate's process to end."""
        return await asyncio.get_running_loop().run_in_executor(None, lambda: self.gate.process.wait(60))

    def resident_bytes(self) -> int:
        """Memory that the gate's process has in use."""
        status = Path(f"/proc/{self.gate.process.pid}/status").read_text("ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


@asynccontextmanager
async def gated(
    start_gate: StartGate, script: Script, server: str = "", tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Door, Upstream]]:
    """A gate in front of a model."""
    async with scripted(script) as upstream:
        # Elsewhere, so as not to hold up the loop, which the upstream lives in.
        gate = await asyncio.get_running_loop().run_in_executor(
            None, lambda: start_gate(settings(upstream.port, server), tls=tls)
        )
        door = Door(gate, tls)
        try:
            yield door, upstream
        finally:
            for client in door.clients:
                client.writer.transport.abort()
            await asyncio.sleep(0)


def chat(*, stream: bool = False, key: str | None = KEY, lines: bytes = b"") -> bytes:
    body = json.dumps(CHAT | {"stream": stream}).encode()
    if key is not None:
        lines += b"authorization: Bearer %b\r\n" % key.encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n%bcontent-length: %d\r\n\r\n%b" % (
        lines,
        len(body),
        body,
    )


async def rest_of(client: Client) -> bytes:
    """What still comes of a stream whose first chunk was read."""
    return b"".join([chunk async for chunk in client.chunks()])


# --- signals ----------------------------------------------------------------------------------------


def test_sigterm_lets_streams_end(start_gate: StartGate) -> None:
    async def main() -> None:
        model = Model()
        async with gated(start_gate, model) as (door, _):
            client, idle = await door.stream(), await door.connect()
            assert (await idle.ask(chat())).status == 200
            door.gate.process.send_signal(signal.SIGTERM)
            assert await idle.ended() == b""
            with pytest.raises(ConnectionRefusedError):
                await door.connect()
            model.going.set()
            assert (await rest_of(client)).endswith(b'"finish_reason": "stop"}]}\n\n' + DONE)
            assert await client.ended() == b""
            assert await door.ended() == 0
            assert "Traceback" not in door.gate.log

    run(main())


def test_after_the_grace_period_streams_end_with_an_error(start_gate: StartGate) -> None:
    async def main() -> None:
        model = Model()
        async with gated(start_gate, model, "grace_ms = 100") as (door, _):
            client = await door.stream()
            door.gate.process.send_signal(signal.SIGTERM)
            last = json.loads((await rest_of(client)).removeprefix(b"data: "))
            assert last["error"]["message"] == "The server is shutting down."
            assert await client.ended() == b""
            assert await door.ended() == 0
            await until(lambda: model.gone == 1)
            assert "Traceback" not in door.gate.log

    run(main())


def test_sighup_takes_a_new_configuration_and_drops_no_stream(start_gate: StartGate) -> None:
    async def main() -> None:
        model = Model()
        async with gated(start_gate, model) as (door, upstream):
            client, other = await door.stream(), await door.connect()
            assert (await other.ask(chat())).status == 200
            door.gate.reload(settings(upstream.port, "header_count = 20", "another"))
            while (await other.ask(chat())).status != 404:
                await asyncio.sleep(0.01)
            reply = await other.ask(chat(lines=b"x: y\r\n" * 20))
            assert reply.status == 431
            model.going.set()
            assert (await rest_of(client)).endswith(DONE)
            # The same connection goes on, under the new settings.
            assert (await client.ask(chat())).status == 404

    run(main())


def test_sighup_with_a_broken_configuration_changes_nothing(start_gate: StartGate) -> None:
    async def main() -> None:
        model = Model()
        async with gated(start_gate, model) as (door, _):
            client = await door.stream()
            door.gate.reload("[server]\nport = -1\n")
            await until(lambda: "configuration not changed" in door.gate.log)
            other = await door.connect()
            assert (await other.ask(chat())).status == 200
            model.going.set()
            assert (await rest_of(client)).endswith(DONE)

    run(main())


# --- hang-ups ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["finish", "close", "reset"])
def test_a_hang_up_cancels_the_upstream(start_gate: StartGate, ending: str) -> None:
    async def main() -> None:
        model = Model()
        async with gated(start_gate, model) as (door, _):
            client, stays = await door.stream(), await door.stream()
            getattr(client, ending)()
            await until(lambda: model.gone == 1)
            model.going.set()
            assert (await rest_of(stays)).endswith(DONE)
            assert model.gone == 1

    run(main())


def test_a_slow_reader_holds_up_its_upstream_and_nobody_else(start_gate: StartGate) -> None:
    total_bytes = 60_000_000
    piece = chunk(event("x" * 20_000) * 10)

    async def main() -> None:
        sent_bytes = 0

        async def script(line: Line) -> None:
            nonlocal sent_bytes
            request = await line.request()
            if b'"stream":true' not in request.replace(b" ", b""):
                await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(WHOLE), WHOLE))
                return
            await line.send(SSE)
            while sent_bytes < total_bytes:
                await line.send(piece)
                sent_bytes += len(piece)
            await line.send(chunk(event("", "stop") + DONE) + b"0\r\n\r\n")

        async with gated(start_gate, script) as (door, _):
            before_bytes = door.resident_bytes()
            client = await door.connect()
            client.stop_reading()
            await client.send(chat(stream=True))
            await until(lambda: sent_bytes > 0)
            stuck_at = -1
            while (
                stuck_at != sent_bytes
            ):  # it is stuck when others were served a hundred times and it got nowhere
                stuck_at = sent_bytes
                for _ in range(100):
                    other = await door.connect()
                    assert (await other.ask(chat())).status == 200
                    other.close()
            assert sent_bytes < total_bytes // 2
            # Twenty million octets are on the way, most of them in the kernel.
            assert door.resident_bytes() - before_bytes < 10_000_000
            client.read_on()
            await client.head()
            body = b"".join([chunk async for chunk in client.chunks()])
            assert body.count(b"data: ") == total_bytes // len(piece) * 10 + 10 + 2
            assert body.endswith(DONE)

    run(main(), timeout_s=120)


def test_slow_senders_are_told(start_gate: StartGate) -> None:
    async def main() -> None:
        limits = "header_timeout_ms = 300\nbody_timeout_ms = 300\nidle_timeout_ms = 300"
        model = Model()
        async with gated(start_gate, model, limits) as (door, _):
            head, body, idle = await door.connect(), await door.connect(), await door.connect()
            await head.send(chat()[:20])
            await body.send(chat()[:-1])
            assert (await idle.ask(chat())).status == 200
            assert (await head.reply()).status == 408
            assert (await body.reply()).status == 408
            assert await idle.ended() == b""
            assert model.requests == 1

    run(main())


# --- who may do what is decided by the route ----------------------------------------------------------------

PATHS = [
    b"/v1/models",
    b"//v1/models",
    b"/v1//models",
    b"/v1/models/",
    b"/v1/models/m",
    b"/v1/models/../models",
    b"/v1/./models",
    b"/v1/%2e/models",
    b"/v1/%2e%2e/v1/models",
    b"/v1/../v1/models",
    b"/%76%31/models",
    b"/v1%2fmodels",
    b"/v1\\models",
    b"/V1/MODELS",
    b"/v1/models;a=b",
    b"/v1/models;/healthz",
    b"/v1/models#/healthz",
    b"/v1/models?/healthz",
    b"/v1/models%00",
    b"/v1/models%20",
    b"/v1/models.json",
    b"/healthz/../v1/models",
    b"/healthz/v1/models",
    b"/healthz;/v1/models",
    b"/healthz%2f..%2fv1%2fmodels",
    b"/readyz/../v1/models/m",
    b"/healthz#/../v1/models",
    b"/healthz//",
    b"http://other/v1/models",
    b"http://other//v1/models",
    b"http://healthz/v1/models",
    b"http://other/healthz/../v1/models",
    b"http://user:" + KEY.encode() + b"@other/v1/models",
    b"http://other?/v1/models",
    b"https://other/v1/models",
    b"x://healthz/v1/models",
    b"/v1/chat/completions",
    b"//v1/chat/completions",
    b"/v1/chat/completions/",
    b"/v1/chat/completions/../../../healthz",
    b"/healthz/../v1/chat/completions",
    b"http://healthz/v1/chat/completions",
]
TRICKS = [
    b"",
    b"x-original-url: /healthz\r\n",
    b"x-rewrite-url: /healthz\r\n",
    b"x-forwarded-host: localhost\r\nx-forwarded-for: 127.0.0.1\r\n",
    b"x-api-key: " + KEY.encode() + b"\r\n",
    b"authorization: Basic " + KEY.encode() + b"\r\n",
    b"authorization: " + KEY.encode() + b"\r\n",
    b"authorization: Bearer\r\n",
    b"authorization: Bearer " + KEY[:-1].encode() + b"\r\n",
    b"authorization: Bearer " + KEY.encode() + b"x\r\n",
    b"authorization: Bearer " + KEY.upper().encode() + b"\r\n",
    b"proxy-authorization: Bearer " + KEY.encode() + b"\r\n",
    b"cookie: authorization=" + KEY.encode() + b"\r\n",
    b"x-http-method-override: OPTIONS\r\n",
    b"connection: authorization\r\n",
]
HOSTS = [b"a", b"healthz", b"localhost", b"127.0.0.1", b"a/healthz", b""]


def test_nothing_but_the_key_opens_a_route(start_gate: StartGate) -> None:
    async def main() -> None:
        model = Model()
        async with gated(start_gate, model) as (door, _):
            client = await door.connect()
            for path in PATHS:
                for method in (b"GET", b"POST", b"HEAD"):
                    for number, trick in enumerate(TRICKS):
                        host = HOSTS[number % len(HOSTS)]
                        head = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b" % (method, path, host, trick)
                        body = json.dumps(CHAT).encode() if method == b"POST" else b""
                        request = head + b"content-length: %d\r\n\r\n%b" % (len(body), body)
                        reply = await client.ask(request, method=method)
                        assert reply.status in (401, 404, 405), (request, reply)
                        if reply.closes:
                            client.close()
                            client = await door.connect()
            assert model.requests == 0

    run(main(), timeout_s=120)


def test_with_the_key_only_the_exact_path_is_served(start_gate: StartGate) -> None:
    async def main() -> None:
        model = Model()
        async with gated(start_gate, model) as (door, _):
            served = []
            for path in PATHS:
                for method in (b"GET", b"POST"):
                    body = json.dumps(CHAT).encode() if method == b"POST" else b""
                    reply = await door.ask(
                        b"%b %b HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\n"
                        % (method, path, KEY.encode())
                        + b"content-length: %d\r\n\r\n%b" % (len(body), body)
                    )
                    if reply.status == 200:
                        served.append((method, path))
            assert served == [
                (b"GET", b"/v1/models"),
                (b"GET", b"/v1/models/m"),
                (b"GET", b"/v1/models?/healthz"),
                (b"GET", b"http://other/v1/models"),
                (b"GET", b"http://healthz/v1/models"),
                (b"GET", b"http://user:" + KEY.encode() + b"@other/v1/models"),
                (b"GET", b"https://other/v1/models"),
                (b"GET", b"x://healthz/v1/models"),
                (b"POST", b"/v1/chat/completions"),
                (b"POST", b"http://healthz/v1/chat/completions"),
            ]
            assert model.requests == 2

    run(main())


# --- TLS --------------------------------------------------------------------------------------------


def test_tls_from_files(start_gate: StartGate, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    (tmp_path / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    async def main() -> None:
        model = Model()
        files = f'tls_cert_file = "{tmp_path}/cert.pem"\ntls_key_file = "{tmp_path}/key.pem"'
        async with gated(start_gate, model, files, trust) as (door, _):
            assert door.gate.url.startswith("https://")
            client = await door.connect()
            assert (await client.ask(chat())).body == WHOLE
            model.going.set()
            reply = await client.ask(chat(stream=True))
            assert reply.body == event("one") + event("two", "stop") + DONE
            door.tls = ssl.create_default_context()
            with pytest.raises(ssl.SSLCertVerificationError):
                await door.connect()

    run(main())
