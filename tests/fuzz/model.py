"""An upstream that answers every chat request well, and notes what it should never have been sent.

Knows nothing of the gate in front of it.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b\r\n\r\n"


class Model:
    """The server; `complaints` stays empty while all is well."""

    def __init__(self) -> None:
        self.port = 0
        self.requests = 0
        self.complaints: list[str] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Ends everything."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"\r\ncontent-length: ([0-9]+)\r\n", head)
                if not head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n") or length is None:
                    self.complaints.append(f"not what a client of ours asks: {head!r}")
                    return
                body = await reader.readexactly(int(length[1]))
                self.requests += 1
                writer.write(self._reply(body))
                await writer.drain()
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    def _reply(self, body: bytes) -> bytes:
        try:
            request = json.loads(body, parse_constant=self._no_constant)
        except (ValueError, RecursionError) as error:
            self.complaints.append(f"{error}: {body[:2000]!r}")
            request = {}
        if request.get("model") not in {"m", "l"}:
            self.complaints.append(f"the wrong model: {body[:2000]!r}")
        if request.get("stream") is True:
            return (
                HEAD % (b"text/event-stream", b"transfer-encoding: chunked")
                + b"".join(b"%x\r\n%b\r\n" % (len(data), data) for data in events(request))
                + b"0\r\n\r\n"
            )
        return whole(request)

    def _no_constant(self, name: str) -> None:
        raise ValueError(f"{name} is not JSON")


def chunk(**fields: Any) -> bytes:
    """One event of a stream."""
    value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **fields}
    return b"data: %b\n\n" % json.dumps(value).encode()


def events(request: dict[str, Any]) -> list[bytes]:
    """A short stream."""
    said = [
        chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
    ]
    said += [
        chunk(choices=[{"index": 0, "delta": {"content": "hi "}, "finish_reason": None}]) for _ in range(5)
    ]
    said.append(chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    options = request.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") is True:
        said.append(chunk(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}))
    return [*said, b"data: [DONE]\n\n"]


def whole(request: dict[str, Any]) -> bytes:
    """A whole reply."""
    message = {"role": "assistant", "content": "hi hi"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    choices = [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}]
    value = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": usage,
    }
    data = json.dumps(value).encode()
    return HEAD % (b"application/json", b"content-length: %d" % len(data)) + data
