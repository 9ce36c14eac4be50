"""Passes on a reply that need not be JSON: sound while it is being made, subtitles, or JSON after all.

Must not know what is in it, but for the usage of JSON.
"""

from __future__ import annotations

import msgspec

from headgate.core.errors import UpstreamError, UpstreamFailed
from headgate.core.estimate import estimate_prompt_tokens
from headgate.core.ports import Call, Exchange, Outcome, Reply, Translator
from headgate.core.speech import SpeechRequest
from headgate.core.tap import whole_usage
from headgate.core.usage import UNKNOWN_USAGE, Source, Usage
from headgate.gateway.attempt import Attempt, told
from headgate.gateway.relay import TRANSLATED_BYTES, refuse_packed, reply_headers

OURS = b"x-headgate-"
"""Headers of our own engines, which tell a client what became of its request."""


def passed_on(reply: Reply) -> bytes:
    """The header lines that an engine of ours has for the client."""
    return b"".join([b"%b: %b\r\n" % line for line in reply.headers if line[0].startswith(OURS)])


async def forward(
    exchange: Exchange,
    attempt: Attempt,
    reply: Reply,
    translator: Translator | None,
    call: Call,
    now_s: float,
) -> None:
    """Passes the reply on, and settles the attempt before its last byte leaves; raises ApiError."""
    body_bytes = call.body_bytes
    refuse_packed(reply)
    kind = (
        (reply.header(b"content-type") or b"application/octet-stream").replace(b"\r", b"").replace(b"\n", b"")
    )
    headers = reply_headers(exchange, b"content-type: %b\r\n%b" % (kind, passed_on(reply)), now_s, attempt)
    try:
        if kind.lower().startswith(b"application/json"):
            body = await _whole(reply)
            if translator is not None:
                body = translator.whole(body)
            usage = whole_usage(body, body_bytes)
        else:
            flow = _Flow(exchange, reply, headers)
            await flow.run()
            body = flow.last
            usage = Usage(
                Source.ESTIMATED,
                input_tokens=estimate_prompt_tokens(body_bytes),
                characters=len(call.request.input) if isinstance(call.request, SpeechRequest) else 0,
            )
    except UpstreamError as error:
        attempt.settle(Outcome.FAILED, UNKNOWN_USAGE)
        raise told(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        attempt.settle(Outcome.FAILED, UNKNOWN_USAGE)
        raise UpstreamFailed("The upstream's reply is not a JSON object.") from None
    attempt.settle(Outcome.OK, usage)
    if attempt.durable:
        await attempt.flushed()
    if exchange.begun:
        exchange.finish(body)
    else:
        exchange.reply(200, headers, body)


async def _whole(reply: Reply) -> bytes:
    pieces = [reply.take()]
    size = len(pieces[0])

    def take(data: bytes) -> None:
        nonlocal size
        pieces.append(data)
        size += len(data)
        if size > TRANSLATED_BYTES:
            raise UpstreamFailed("The upstream's reply is too large.")

    if not reply.complete:
        await reply.pump(take)
    return b"".join(pieces)


class _Flow:
    """A body on its way: all but its last byte, which waits until the attempt is settled."""

    def __init__(self, exchange: Exchange, reply: Reply, headers: bytes) -> None:
        self._exchange = exchange
        self._reply = reply
        self._headers = headers
        self.last = b""

    async def run(self) -> None:
        self._exchange.throttle(self._reply)
        self._take(self._reply.take())
        if not self._reply.complete:
            await self._reply.pump(self._take)

    def _take(self, data: bytes) -> None:
        if not data:
            return
        if not self._exchange.begun:
            length = self._reply.header(b"content-length")
            self._exchange.begin(200, self._headers, int(length) if length is not None else None)
        self._exchange.write(self.last + data[:-1])
        self.last = data[-1:]
