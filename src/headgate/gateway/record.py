"""What is seen of a request from outside begins here. Where the operator wants prompts and answers in traces,
they are kept on their way.

Must not know what becomes of it: that is the observer's.
"""

from __future__ import annotations

from typing import Any

from headgate.core.observer import GUESSED, Observer, Passage
from headgate.core.ports import Call, Exchange
from headgate.gateway.choose import Plan

MOST_BYTES = 1_048_576
"""Of a request, and of an answer: texts are far smaller, and pictures are not wanted in a trace."""


def watched(exchange: Exchange, endpoint: str, observer: Observer | None) -> Exchange:
    """The exchange to go on with, now that it is seen; the same as before while nobody looks."""
    if observer is None:
        return exchange
    exchange.passage = passage = Passage(endpoint, observer)
    if observer.tracing:
        observer.trace(exchange, passage)  # type: ignore[arg-type]  # the edge's own is more than the port says
        if passage.answered is not None:
            return Recording(exchange, passage)
    return exchange


def name_model(passage: Passage | None, call: Call, plan: Plan) -> None:
    """Notes which model a request is for, now that it is known to be served."""
    if passage is not None:
        target = plan.targets[0]
        passage.model = target.model
        passage.label = GUESSED if target.guessed else target.model
        passage.stream = call.stream


class Recording:
    """Passes everything on to the exchange, and keeps what was asked and answered."""

    def __init__(self, exchange: Exchange, passage: Passage) -> None:
        self._exchange = exchange
        self._passage = passage
        self._room_bytes = MOST_BYTES

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def body_at_hand(self) -> bytes | None:
        """As `core.ports.Exchange.body_at_hand`."""
        body = self._exchange.body_at_hand()
        if body is not None:
            self._passage.asked = body[:MOST_BYTES]
        return body

    async def body(self, *enough_bytes: int) -> bytes:
        """As `core.ports.Exchange.body`."""
        body = await self._exchange.body(*enough_bytes)
        if len(self._passage.asked) < MOST_BYTES:
            self._passage.asked += body[:MOST_BYTES]
        return body

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """As `core.ports.Exchange.reply`."""
        self._keep(body)
        self._exchange.reply(status, headers, body)

    def write(self, data: bytes) -> None:
        """As `core.ports.Exchange.write`."""
        self._keep(data)
        self._exchange.write(data)

    def finish(self, data: bytes = b"") -> None:
        """As `core.ports.Exchange.finish`."""
        self._keep(data)
        self._exchange.finish(data)

    def _keep(self, data: bytes) -> None:
        answered = self._passage.answered
        self._room_bytes -= len(data)
        if self._room_bytes >= 0 and answered is not None:
            answered.append(data)
