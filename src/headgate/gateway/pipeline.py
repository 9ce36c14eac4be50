"""The life of a model request: authenticate, admit, route, attempt, relay, settle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

from headgate.core.endpoint import Endpoint
from headgate.core.errors import ApiError, UpstreamFailed
from headgate.core.ports import Call, Exchange, Journal, Keys, Outcome, Outgoing, Reply
from headgate.core.tap import StreamTap, partial_usage
from headgate.gateway.admit import Admitted, admit
from headgate.gateway.attempt import Attempt
from headgate.gateway.authenticate import authenticate
from headgate.gateway.carry import HEAVY_BYTES, Prepared, carry
from headgate.gateway.pulse import Pulse
from headgate.gateway.relay import refuse_packed, relay_whole
from headgate.gateway.route import Models, Target, route
from headgate.gateway.stream import Pace, Stream

PULSE_STEP_MS = 500
"""How often quiet streams are looked for: a tenth of the usual comment interval."""


class Gate:
    """Everything a request needs on its way; one for the process."""

    def __init__(self, keys: Keys, journal: Journal, models: Models, pace: Pace) -> None:
        self.keys = keys
        self.models = models
        """Replaced whole when the configuration changes; a request uses the one it began with."""
        self.pace = pace
        self._journal = journal
        self._pulse = Pulse(PULSE_STEP_MS)
        self._clock = asyncio.get_running_loop().time

    def handler(self, endpoint: Endpoint) -> Callable[[Exchange], Awaitable[None]]:
        """The handler of one endpoint that names a model."""

        async def handle(exchange: Exchange) -> None:
            principal = authenticate(exchange, self.keys)
            body = await exchange.body(HEAVY_BYTES)
            if len(body) <= HEAVY_BYTES:
                admitted = admit(endpoint, body)
                target = route(self.models, admitted.model)
                outgoing = translate(endpoint, admitted, target)
            else:
                admitted, target, outgoing = await carry(exchange, body, partial(self._prepare, endpoint))
            del body  # the reply may take minutes
            attempt = Attempt(exchange, self._journal, principal, endpoint.name, admitted.model, target)
            target.upstream.enter()
            try:
                if admitted.stream:
                    await self._stream(exchange, attempt, outgoing, admitted)
                else:
                    await self._whole(exchange, attempt, outgoing, admitted)
            except ApiError:
                if attempt.durable:
                    attempt.end()
                    await attempt.flushed()
                raise
            finally:
                attempt.end()
                target.upstream.leave()

        return handle

    def _prepare(self, endpoint: Endpoint, body: bytes, abridged: bool) -> Prepared:
        """A heavy request, checked, routed and translated; light ones do without the call."""
        admitted = admit(endpoint, body)
        admitted.abridged = abridged
        target = route(self.models, admitted.model)
        return admitted, target, translate(endpoint, admitted, target)

    async def _whole(
        self, exchange: Exchange, attempt: Attempt, outgoing: Outgoing, admitted: Admitted
    ) -> None:
        try:
            reply = await attempt.send(outgoing)
            await relay_whole(
                exchange,
                attempt,
                reply,
                outgoing.translator,
                prompt_bytes=admitted.body_bytes,
                now_s=self._clock(),
            )
        except asyncio.CancelledError:
            attempt.settle(cut_off(exchange), partial_usage(admitted.body_bytes))
            raise

    async def _stream(
        self, exchange: Exchange, attempt: Attempt, outgoing: Outgoing, admitted: Admitted
    ) -> None:
        tap = StreamTap(
            withhold_usage=not admitted.wants_usage,
            prompt_bytes=admitted.body_bytes,
            # An endpoint whose requests have no `n` gives one answer.
            choices=getattr(admitted.request, "n", None) or 1,
        )
        stream = Stream(exchange, attempt, tap, self.pace, self._clock)
        self._pulse.add(stream)
        try:
            reply = await attempt.send(outgoing)
            if not is_stream(reply):
                raise UpstreamFailed("The upstream did not answer with a stream.")
            refuse_packed(reply)
            await stream.relay(reply, outgoing.translator)
        except asyncio.CancelledError:
            stream.settle(cut_off(exchange))
            raise
        except ApiError:
            stream.fail()
            raise
        finally:
            self._pulse.discard(stream)


def translate(endpoint: Endpoint, admitted: Admitted, target: Target) -> Outgoing:
    """The request in the words of its upstream; raises InvalidField for what that cannot do."""
    call = Call(
        endpoint,
        admitted.request,
        admitted.fields,
        admitted.stream,
        admitted.wants_usage,
        target.upstream_model,
        int(time.time()),
        admitted.abridged,
    )
    return target.upstream.dialect.request(call)


def cut_off(exchange: Exchange) -> Outcome:
    """How an attempt ends that is cancelled: by its client, or because the gate stops."""
    return Outcome.CLIENT_GONE if exchange.gone else Outcome.FAILED


def is_stream(reply: Reply) -> bool:
    """Whether the upstream answers with server-sent events."""
    kind = reply.header(b"content-type")
    return kind is not None and kind.lower().startswith(b"text/event-stream")
