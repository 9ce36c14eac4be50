"""Passes a whole reply on. Small ones are checked and counted before they leave; large ones flow through."""

from __future__ import annotations

import msgspec

from headgate.core.errors import UpstreamError, UpstreamFailed
from headgate.core.ports import Exchange, Outcome, Reply, Translator
from headgate.core.tap import tail_usage, whole_usage
from headgate.core.usage import UNKNOWN_USAGE
from headgate.gateway.attempt import Attempt, told

JSON = b"content-type: application/json\r\n"

WHOLE_BYTES = 1_048_576
"""Replies up to this are kept until they are complete; above it only their last bytes are held back."""

TRANSLATED_BYTES = 67_108_864
"""Largest reply that is kept for translation: a few pictures in base64."""

TAIL_BYTES = 32_768
"""Held back of a reply that flows: usage stands at its end, and the journal comes before the last byte."""


def reply_headers(exchange: Exchange, content_type: bytes, now_s: float, attempt: Attempt) -> bytes:
    """The header lines of a successful reply, with what did not go upstream and how rates stand."""
    if attempt.dropped:
        content_type += b"x-headgate-dropped: %b\r\n" % ", ".join(attempt.dropped).encode()
    if attempt.told:
        content_type += attempt.told
    if attempt.bill.hold is not None:
        content_type += attempt.bill.headers()
    return b"%bopenai-processing-ms: %d\r\nopenai-version: 2020-10-01\r\n" % (
        content_type,
        (now_s - exchange.started_s) * 1000,
    )


def relay_at_hand(
    exchange: Exchange,
    attempt: Attempt,
    reply: Reply,
    translator: Translator | None,
    body_bytes: int,
    now_s: float,
) -> None:
    """Does what `relay_whole` does with a reply that is there, while nobody waits for the disk."""
    body = _count(attempt, translator, reply.take(), body_bytes)
    exchange.reply(200, reply_headers(exchange, JSON, now_s, attempt), body)


async def relay_whole(
    exchange: Exchange,
    attempt: Attempt,
    reply: Reply,
    translator: Translator | None,
    body_bytes: int,
    now_s: float,
) -> None:
    """Passes on a reply that is not a stream, and settles the attempt before its last byte leaves.

    `body_bytes` is the request's length, for an estimate of what it asked the model to read.
    """
    headers = reply_headers(exchange, JSON, now_s, attempt)
    body = reply.take()
    if not reply.complete:
        gathered = _Gathered(exchange, reply, headers, body, flowing=translator is None)
        try:
            await reply.pump(gathered.take)
        except UpstreamError as error:
            attempt.settle(Outcome.FAILED, UNKNOWN_USAGE)
            raise told(error) from None
        body = gathered.rest()
        if exchange.begun:
            attempt.settle(Outcome.OK, tail_usage(body, gathered.passed_bytes, body_bytes))
            if attempt.durable:
                await attempt.flushed()
            exchange.finish(body)
            return
    body = _count(attempt, translator, body, body_bytes)
    if attempt.durable:
        await attempt.flushed()
    exchange.reply(200, headers, body)


def _count(attempt: Attempt, translator: Translator | None, body: bytes, body_bytes: int) -> bytes:
    """The reply in our words, what it used settled; raises UpstreamFailed for what is no reply."""
    try:
        if translator is not None:
            body = translator.whole(body)
        usage = whole_usage(body, body_bytes)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        attempt.settle(Outcome.FAILED, UNKNOWN_USAGE)
        raise UpstreamFailed("The upstream's reply is not a JSON object.") from None
    attempt.settle(Outcome.OK, usage)
    return body


class _Gathered:
    """A body as it arrives: kept while it is small, passed on but for its tail when it is not."""

    __slots__ = ("_exchange", "_flowing", "_headers", "_kept_bytes", "_pieces", "_reply", "passed_bytes")

    def __init__(
        self, exchange: Exchange, reply: Reply, headers: bytes, first: bytes, *, flowing: bool
    ) -> None:
        self._exchange = exchange
        self._reply = reply
        self._headers = headers
        self._flowing = flowing
        self._pieces = [first]
        self._kept_bytes = len(first)
        self.passed_bytes = 0

    def take(self, data: bytes) -> None:
        self._pieces.append(data)
        self._kept_bytes += len(data)
        if self._exchange.begun:
            self._pass_on()
        elif self._kept_bytes > WHOLE_BYTES:
            if self._flowing:
                refuse_packed(self._reply)
                self._exchange.begin(200, self._headers, _length(self._reply))
                self._exchange.throttle(self._reply)
                self._pass_on()
            elif self._kept_bytes > TRANSLATED_BYTES:
                raise UpstreamFailed("The upstream's reply is too large.")

    def rest(self) -> bytes:
        """What has not been passed on."""
        return b"".join(self._pieces)

    def _pass_on(self) -> None:
        if self._kept_bytes < 2 * TAIL_BYTES:
            return
        body = b"".join(self._pieces)
        self._exchange.write(body[:-TAIL_BYTES])
        self.passed_bytes += len(body) - TAIL_BYTES
        self._pieces = [body[-TAIL_BYTES:]]
        self._kept_bytes = TAIL_BYTES


def refuse_packed(reply: Reply) -> None:
    """Raises UpstreamFailed for a reply that is compressed though nobody asked: it could not be read."""
    encoding = reply.header(b"content-encoding")
    if encoding is not None and encoding.lower() not in (b"", b"identity"):
        raise UpstreamFailed("The upstream's reply is compressed, which it was asked not to be.")


def _length(reply: Reply) -> int | None:
    length = reply.header(b"content-length")
    return int(length) if length is not None else None
