"""What a request of the fault run carries, and the answers that can be checked: every word of one tells which
upstream said it, in which reply, and at which place.

Knows neither the gate nor the faults.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import count

WORDS = 12
"""In every answer: enough to break off in the middle of."""

_replies = count(1)


@dataclass(frozen=True)
class Asked:
    """What an upstream reads in a request's `user`, which the gate passes on as it is."""

    fault: str
    number: int
    stream: bool

    def body(self, model: str) -> bytes:
        """The request of a client."""
        return json.dumps(
            {
                "model": model,
                "stream": self.stream,
                "user": f"{self.fault} {self.number}",
                "messages": [{"role": "user", "content": "Count."}],
            }
        ).encode()


def read(request: bytes) -> Asked:
    """What stands in a request as it arrived upstream."""
    body = json.loads(request.partition(b"\r\n\r\n")[2])
    fault, _, number = body["user"].rpartition(" ")
    return Asked(fault, int(number), bool(body.get("stream")))


def begun(request: bytes) -> str:
    """The beginning of an answer that is to be gone on with; empty where there is none."""
    last = json.loads(request.partition(b"\r\n\r\n")[2])["messages"][-1]
    return str(last["content"]) if last["role"] == "assistant" else ""


class Answer:
    """One reply's words, which say where they belong; or the rest of another's, as if it were its own."""

    def __init__(self, name: str, begun: str = "") -> None:
        self.reply = begun.partition("/")[0] or f"{name}.{next(_replies)}"
        text = "".join(f"{self.reply}/{place} " for place in range(WORDS))
        assert text.startswith(begun), f"not a beginning of this: {begun!r}"
        # A model goes on exactly where the beginning ends, which may be before a space.
        self.words = re.findall(r" ?\S+ | $", text[len(begun) :])

    def whole(self) -> bytes:
        """As a JSON body."""
        message = {"role": "assistant", "content": "".join(self.words)}
        choice: dict[str, object] = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps(self._object("chat.completion", [choice]) | {"usage": USAGE}).encode()

    def events(self) -> list[bytes]:
        """As server-sent events: the role, the words, the end, the usage, `[DONE]`."""
        deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": word} for word in self.words]
        choices: list[list[dict[str, object]]] = [
            [{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas
        ]
        choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        chunks = [self._object("chat.completion.chunk", choice) for choice in choices]
        chunks.append(self._object("chat.completion.chunk", []) | {"usage": USAGE})
        return [*(event(json.dumps(chunk).encode()) for chunk in chunks), event(b"[DONE]")]

    def _object(self, kind: str, choices: list[dict[str, object]]) -> dict[str, object]:
        return {"id": self.reply, "object": kind, "created": 1, "model": "counter", "choices": choices}


USAGE = {"prompt_tokens": 2, "completion_tokens": WORDS, "total_tokens": WORDS + 2}


def event(data: bytes) -> bytes:
    """One server-sent event."""
    return b"data: " + data + b"\n\n"


def chunk(data: bytes) -> bytes:
    """One piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def with_length(head: bytes, body: bytes, length: int | None = None) -> bytes:
    """A whole reply; `length` is what is said of it, true or not."""
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body) if length is None else length, body)
