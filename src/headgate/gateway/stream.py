"""Passes a stream on, whole events at a time, from inside the upstream socket's callback.

Comments go between events only. After the first byte a failure is one error event, and the attempt is settled
before the stream's last byte leaves.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headgate.core.errors import ApiError, UpstreamError, UpstreamFailed
from headgate.core.ports import Exchange, Outcome, Reply, Translator
from headgate.core.sse import DONE, EventSplitter, comment, events
from headgate.core.tap import StreamTap
from headgate.gateway.attempt import Attempt, told
from headgate.gateway.relay import reply_headers

STREAM_HEADERS = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)
"""The last one asks an nginx in front of us not to collect the stream."""


class Pace(msgspec.Struct, frozen=True):
    """When a quiet stream gets a comment."""

    first_comment_ms: int
    """Silence before the first event, after which the reply begins all the same."""
    comment_ms: int
    """Silence after that."""


LINGER_MS = 2000
"""How long an upstream may leave a reply open after `[DONE]` before its connection is given up."""


class Stream:
    """One stream from an upstream to a client."""

    __slots__ = ("_attempt", "_clock", "_exchange", "_pace", "_quiet_ms", "_raw", "_reply", "_splitter",
                 "_tap", "_translator")  # fmt: skip

    def __init__(
        self, exchange: Exchange, attempt: Attempt, tap: StreamTap, pace: Pace, clock: Callable[[], float]
    ) -> None:
        self._exchange = exchange
        self._attempt = attempt
        self._tap = tap
        self._pace = pace
        self._clock = clock
        self._quiet_ms = 0
        self._splitter = EventSplitter()
        self._translator: Translator | None = None
        self._reply: Reply | None = None
        self._raw = False
        """An event over the size cap is passing: nothing may come between."""

    async def relay(self, reply: Reply, translator: Translator | None) -> None:
        """Passes the reply on to its end; raises ApiError when it fails."""
        self._reply = reply
        self._translator = translator
        self._exchange.throttle(reply)
        first = reply.take()
        if first:
            self._take(first)
        try:
            if not reply.complete:
                await reply.pump(self._take)
        except UpstreamError as error:
            if not self._tap.done:
                raise told(error) from None
        if not self._tap.done:
            self._end()

    def settle(self, outcome: Outcome) -> None:
        """Settles the attempt with what has passed so far; only the first call counts."""
        if not self._attempt.settled:
            self._attempt.settle(outcome, self._tap.counted(complete=outcome is Outcome.OK))

    def tick(self, step_ms: int) -> None:
        """Sends a comment into a stream that is quiet; gives up an upstream that lingers after the end."""
        self._quiet_ms += step_ms
        if self._tap.done:
            if self._quiet_ms >= LINGER_MS and self._reply is not None:
                self._reply.close()
            return
        limit_ms = self._pace.comment_ms if self._exchange.begun else self._pace.first_comment_ms
        if self._quiet_ms >= limit_ms and not self._raw:
            self._send(comment(b"waiting"))

    def _take(self, data: bytes) -> None:
        if self._tap.done:
            return
        splitter = self._splitter
        block = splitter.feed(data)
        if block:
            self._raw = False
            self._pass_on(block)
        if splitter.oversized:
            self._raw = True
            self._send(splitter.take_raw())

    def _pass_on(self, block: bytes) -> None:
        translator, tap = self._translator, self._tap
        if translator is not None:
            block = b"".join([translator.event(event) for event in events(block)])
        out = tap.scan(block)
        if tap.done:
            self.settle(Outcome.OK)
            self._finish(out)
        elif out:
            self._send(out)
        if tap.error is not None:
            raise _event_error(tap.error)

    def _send(self, data: bytes) -> None:
        if not self._exchange.begun:
            self._begin()
        self._exchange.write(data)
        self._quiet_ms = 0

    def _finish(self, last: bytes) -> None:
        if not self._exchange.begun:
            self._begin()
        self._exchange.finish(last + DONE)
        self._quiet_ms = 0

    def _begin(self) -> None:
        # Not before the first event: until then an upstream's failure can be told by its HTTP status.
        self._exchange.begin(200, reply_headers(self._exchange, STREAM_HEADERS, self._clock()))

    def _end(self) -> None:
        """The upstream ended without `[DONE]`: complete if it said why it stopped, broken off if not."""
        tail = self._splitter.tail
        if tail.strip():
            self._pass_on(tail + b"\n\n")
        if self._translator is not None and not self._tap.done:
            last = self._translator.end()
            if last:
                self._pass_on(last)
        if self._tap.done:
            return
        if not self._tap.finished:
            raise UpstreamFailed("The upstream's stream broke off.")
        self.settle(Outcome.OK)
        self._finish(b"")


class _ErrorObject(msgspec.Struct):
    message: str = ""
    type: str | None = None
    code: str | int | None = None


class _ErrorEvent(msgspec.Struct):
    error: _ErrorObject | str


def _event_error(data: bytes) -> ApiError:
    """An error that the upstream sent inside its stream, in our words and shape."""
    code = None
    try:
        error = msgspec.json.decode(data, type=_ErrorEvent).error
        if isinstance(error, _ErrorObject) and isinstance(error.code, str):
            code = error.code
    except msgspec.DecodeError:
        pass  # its shape is unknown, that it failed is not
    return UpstreamFailed("The upstream reported an error in mid-stream.", code=code)
