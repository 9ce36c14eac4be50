"""Passes a stream on, whole events at a time, from inside the upstream socket's callback.

Comments go between events only. After the first byte a failure is one error event, and the attempt is settled
before the stream's last byte leaves.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import msgspec

from headgate.core.errors import ApiError, UpstreamError, UpstreamFailed, UpstreamTimedOut
from headgate.core.ports import Exchange, Framing, Outcome, Reply, Splitter, Translator
from headgate.core.sse import EventSplitter, comment, events, has_data
from headgate.core.tap import StreamTap
from headgate.core.tap_events import EventTap
from headgate.dialects.refusal import USED_UP
from headgate.dialects.refusal import read as read_refusal
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


LINGER_MS = 500
"""How long an upstream may leave a reply open after `[DONE]` before its connection is given up: the end is at
most one packet behind, and the client's next request waits for it."""


SAID = re.compile(
    rb'"(?:content|reasoning_content|refusal|name|arguments|text|delta|audio|url|b64_json)"\s*:\s*"[^"]'
)
"""The first word of an answer: many servers send an empty piece at once, long before they have one."""

SAMPLED_READS = 7
"""Of eight reads, the pause between two is looked at: a clock for each would be felt, a sample does."""

Before = Callable[[bytes], bytes]


class Note(Protocol):
    """Keeps what was said of a stream (`core.transcript`)."""

    def feed(self, block: bytes) -> bool:
        """Takes whole events; whether more of them are wanted."""
        ...

    def fix(self) -> None:
        """Something was said that nobody else can go on with."""
        ...


OPERATORS_CODES = USED_UP | {"invalid_api_key"}
"""Said of the operator's account: a client would take them for its own."""


class Stream:
    """One stream from an upstream to a client."""

    __slots__ = (
        "_attempt",
        "_clock",
        "_exchange",
        "_late",
        "_mute",
        "_pace",
        "_passage",
        "_quiet_ms",
        "_raw",
        "_read_s",
        "_reads",
        "_reply",
        "_silent_ms",
        "_splitter",
        "_tap",
        "_translator",
        "before",
        "note",
        "release",
        "token_timeout_ms",
    )  # fmt: skip

    def __init__(
        self,
        exchange: Exchange,
        attempt: Attempt,
        tap: StreamTap | EventTap,
        pace: Pace,
        clock: Callable[[], float],
    ) -> None:
        self._exchange = exchange
        self._attempt = attempt
        self._tap = tap
        self._pace = pace
        self._clock = clock
        self._quiet_ms = 0
        self._splitter: Splitter = EventSplitter()
        self._translator: Translator | None = None
        self._reply: Reply | None = None
        self.note: Note | None = None
        """Keeps what another target may have to go on with."""
        self.release: Callable[[], None] | None = None
        """To be called when nobody can go on any more."""
        self.before: Before | None = None
        """What is to be done with every block of events before it passes; it may raise."""
        self.token_timeout_ms: int | None = None
        """The longest time between two events, comments not counted."""
        self._silent_ms = 0
        self._late = False
        self._raw = False
        """An event over the size cap is passing: nothing may come between."""
        self._passage = exchange.passage
        self._mute = self._passage is not None
        """The model has not said anything yet, and somebody wants to know when it does."""
        self._reads = 0
        self._read_s = 0.0

    async def relay(
        self, reply: Reply, translator: Translator | None, framing: Framing | None = None
    ) -> None:
        """Passes the reply on to its end; raises ApiError when it fails."""
        if framing is not None:
            self._splitter = framing.make_splitter()
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
            if self._late:
                raise UpstreamTimedOut("The upstream said nothing for too long.") from None
            if not self._tap.done and (self._splitter.tail.strip() or not self._tap.finished):
                raise told(error) from None
        if not self._tap.done:
            self._end()
        if self._attempt.durable:
            await self._attempt.flushed()
            self._finish(b"")

    def settle(self, outcome: Outcome) -> None:
        """Settles the attempt with what has passed so far; only the first call counts."""
        if not self._attempt.settled:
            self._attempt.settle(outcome, self._tap.counted(complete=outcome is Outcome.OK))

    def fail(self) -> None:
        """Settles it as failed, and ends an event of which only a part has passed: an error may follow it."""
        if self._raw:
            self._send(b"\n\n")
        self.settle(Outcome.FAILED)

    def tick(self, step_ms: int) -> None:
        """Sends a comment into a stream that is quiet; gives up an upstream that lingers after the end."""
        self._quiet_ms += step_ms
        if self._tap.done:
            if self._quiet_ms >= LINGER_MS and self._reply is not None:
                self._reply.close()
            return
        if self.token_timeout_ms is not None and self._reply is not None:
            self._silent_ms += step_ms
            if self._silent_ms > self.token_timeout_ms:
                self._late = True
                self._reply.close()
                return
        limit_ms = self._pace.comment_ms if self._exchange.begun else self._pace.first_comment_ms
        if self._quiet_ms >= limit_ms and not self._raw:
            self._send(comment(b"waiting"))

    def _take(self, data: bytes) -> None:
        if self._tap.done:
            return
        self._reads += 1
        if self._reads & SAMPLED_READS <= 1:
            self._look_at_clock()
        splitter = self._splitter
        block = splitter.feed(data)
        if block and self._raw:
            block = self._pass_rest(block)
        if block:
            if self._translator is None:
                self._pass_scanned(block)
            else:
                self._pass_on(block)
        if block is not data and splitter.oversized:
            if self._translator is not None:
                raise UpstreamFailed("The upstream sent an event that is too large to be translated.")
            self._raw = True
            data = splitter.take_raw()
            if self.before is not None:
                self.before(data)
            if self.note is not None:
                self.note.fix()
                self._forget()
            self._send(data)

    def _look_at_clock(self) -> None:
        """Tells how far two reads are apart."""
        now_s, passage = self._clock(), self._passage
        if self._reads & SAMPLED_READS and self._reads > 1 and passage is not None:
            passage.observer.between(passage, now_s - self._read_s)
        self._read_s = now_s

    def _pass_rest(self, block: bytes) -> bytes:
        """Passes the end of an event over the cap, unseen as the rest of it; returns what follows."""
        self._raw = False
        rest = next(events(block))
        self._send(rest)
        return block[len(rest) :]

    def _pass_on(self, block: bytes) -> None:
        """Takes whole events in the upstream's words."""
        translator = self._translator
        if translator is not None:
            block = b"".join([translator.event(event) for event in events(block)])
        self._pass_scanned(block)

    def _pass_scanned(self, block: bytes) -> None:
        """Takes whole events in our words."""
        tap = self._tap
        out = tap.scan(block)
        if self.before is not None and out:
            out = self.before(out)
        if self.token_timeout_ms is not None and out and has_data(out):
            self._silent_ms = 0
        if self._mute and SAID.search(out):
            self._mute = False
            assert self._passage is not None
            self._passage.first_s = self._clock()
        if out is block and self._exchange.begun:  # nothing was found in it
            if self.note is not None and not self.note.feed(out):
                self._forget()
            self._exchange.write(out)
            self._quiet_ms = 0
            return
        if tap.done:
            self._complete(out)
        elif out and (self._exchange.begun or has_data(out)):
            if self.note is not None and not self.note.feed(out):
                self._forget()
            self._send(out)
        if tap.error is not None:
            raise _event_error(tap.error)

    def _forget(self) -> None:
        """Nobody can go on any more."""
        self.note = None
        if self.release is not None:
            self.release()

    def _send(self, data: bytes) -> None:
        if not self._exchange.begun:
            self._begin()
        self._exchange.write(data)
        self._quiet_ms = 0

    def _complete(self, last: bytes) -> None:
        """Settles it well, then ends the reply; or leaves that to `relay`, where the disk comes first."""
        self.settle(Outcome.OK)
        if not self._attempt.durable:
            self._finish(last)
        elif last:
            self._send(last)

    def _finish(self, last: bytes) -> None:
        if not self._exchange.begun:
            self._begin()
        self._exchange.finish(last + self._tap.closing)
        self._quiet_ms = 0

    def _begin(self) -> None:
        # Not before the first event: until then an upstream's failure can be told by its HTTP status.
        kind = STREAM_HEADERS + self._attempt.passed
        headers = reply_headers(self._exchange, kind, self._clock(), self._attempt)
        self._exchange.begin(200, headers)

    def _end(self) -> None:
        """The upstream ended without `[DONE]`: complete if it said why it stopped, broken off if not."""
        tail = self._splitter.tail
        if self._raw:
            raise UpstreamFailed("The upstream's stream broke off.")
        if tail.strip():
            self._pass_on(tail + b"\n\n")
        if self._translator is not None and not self._tap.done:
            self._pass_scanned(self._translator.end())
        if self._tap.done:
            return
        if not self._tap.finished:
            raise UpstreamFailed("The upstream's stream broke off.")
        self._complete(b"")


def at_first_word(call: Callable[[], None], then: Before | None) -> Before:
    """What is done before a block passes: the first one that says something makes a call."""
    called = False

    def before(block: bytes) -> bytes:
        nonlocal called
        if not called and has_data(block):
            called = True
            call()
        return then(block) if then is not None else block

    return before


def _event_error(data: bytes) -> ApiError:
    """An error that the upstream sent inside its stream: its code, in our words and shape."""
    code = read_refusal(data).code
    return UpstreamFailed(
        "The upstream reported an error in mid-stream.", code=None if code in OPERATORS_CODES else code
    )
