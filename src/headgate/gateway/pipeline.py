"""The life of a model request: authenticate, admit, route, attempt, relay, settle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

from headgate.core.endpoint import Endpoint
from headgate.core.errors import ApiError, UpstreamFailed
from headgate.core.observer import Observer
from headgate.core.ports import Call, Exchange, Framing, Journal, Keys, Outcome, Outgoing, Reply
from headgate.core.tap import StreamTap, partial_usage
from headgate.core.tap_events import EventTap
from headgate.gateway.admit import admit
from headgate.gateway.attempt import Attempt
from headgate.gateway.authorize import admitted, authorize_model
from headgate.gateway.carry import HEAVY_BYTES, Prepared, carry
from headgate.gateway.form import carry_form
from headgate.gateway.forward import forward, passed_on
from headgate.gateway.pulse import Pulse
from headgate.gateway.record import watched
from headgate.gateway.relay import refuse_packed, relay_at_hand, relay_whole
from headgate.gateway.reserve import Reserve
from headgate.gateway.route import Models, Target, route
from headgate.gateway.shape import forwarded, shaped
from headgate.gateway.spool import Spool
from headgate.gateway.stream import Pace, Stream

SERVER_SENT_EVENTS = b"text/event-stream"

PULSE_STEP_MS = 500
"""How often quiet streams are looked for: a tenth of the usual comment interval."""


class Gate:
    """Everything a request needs on its way; one for the process."""

    def __init__(self, keys: Keys, journal: Journal, models: Models, pace: Pace) -> None:
        self.keys = keys
        self.models = models
        """Replaced whole when the configuration changes; a request uses the one it began with."""
        self.pace = pace
        self.reserve = Reserve()
        """What limits, budgets and prices say; nothing is limited until somebody puts another here."""
        self.observer: Observer | None = None
        """Told of every request; without one, nobody sees any."""
        self._journal = journal
        self._pulse = Pulse(PULSE_STEP_MS)
        self._clock = asyncio.get_running_loop().time

    def handler(self, endpoint: Endpoint) -> Callable[[Exchange], Awaitable[None]]:
        """The handler of one endpoint that names a model."""
        make = self._other_handler if endpoint.uploads or endpoint.binary else self._json_handler
        return make(endpoint) if endpoint.error_event is None else shaped(make(endpoint), endpoint)

    def _json_handler(self, endpoint: Endpoint) -> Callable[[Exchange], Awaitable[None]]:
        """The handler of an endpoint whose requests and replies are JSON, or streams."""

        def prepare(exchange: Exchange, body: bytes, abridged: bool) -> Prepared:
            call = admit(endpoint, body, exchange.request_id)
            call.abridged = abridged
            if endpoint.forwards:
                call.headers = forwarded(exchange, endpoint)
            target = route(self.models, call.model)
            call.upstream_model = target.upstream_model
            call.created_s = int(time.time())
            return call, target, target.upstream.dialect.request(call)

        async def handle(exchange: Exchange) -> None:
            exchange = watched(exchange, endpoint.name, self.observer)
            principal = admitted(exchange, self.keys, endpoint)
            body = exchange.body_at_hand()
            if body is None:
                body = await exchange.body(HEAVY_BYTES)
            if len(body) <= HEAVY_BYTES:
                call, target, outgoing = prepare(exchange, body, False)
            else:
                call, target, outgoing = await carry(exchange, body, partial(prepare, exchange))
            del body  # the reply may take minutes
            bill = await self.reserve.begin(authorize_model(principal, call.model), call, (target,))
            attempt = Attempt(exchange, self._journal, principal, call, target, bill)
            try:
                target.upstream.enter()
            except BaseException:
                bill.end()
                raise
            try:
                if call.stream:
                    await self._stream(exchange, attempt, outgoing, call)
                else:
                    reply = await attempt.send(outgoing)
                    if reply.complete and not attempt.durable:
                        relay_at_hand(
                            exchange, attempt, reply, outgoing.translator, call.body_bytes, self._clock()
                        )
                    else:
                        await relay_whole(
                            exchange, attempt, reply, outgoing.translator, call.body_bytes, self._clock()
                        )
            except asyncio.CancelledError:
                attempt.settle(cut_off(exchange), partial_usage(call.body_bytes))
                raise
            except ApiError:
                if attempt.durable:
                    attempt.end()
                    await attempt.flushed()
                raise
            finally:
                attempt.end()
                bill.end()
                target.upstream.leave()

        return handle

    def _other_handler(self, endpoint: Endpoint) -> Callable[[Exchange], Awaitable[None]]:
        """The handler of an endpoint whose requests are forms, or whose replies need not be JSON."""

        def prepare(call: Call) -> Prepared:
            target = route(self.models, call.model)
            call.upstream_model = target.upstream_model
            call.created_s = int(time.time())
            return call, target, target.upstream.dialect.request(call)

        async def handle(exchange: Exchange) -> None:
            exchange = watched(exchange, endpoint.name, self.observer)
            principal = admitted(exchange, self.keys, endpoint)
            spool = Spool()
            try:
                if endpoint.uploads:
                    call, target, outgoing = await carry_form(exchange, endpoint, spool, prepare)
                else:
                    body = await exchange.body()
                    call, target, outgoing = prepare(admit(endpoint, body, exchange.request_id))
                authorize_model(principal, call.model)
                bill = await self.reserve.begin(principal, call, (target,))
                try:
                    await self._exchange_other(
                        exchange,
                        Attempt(exchange, self._journal, principal, call, target, bill),
                        outgoing,
                        call,
                        target,
                    )
                finally:
                    bill.end()
            finally:
                spool.close()

        return handle

    async def _exchange_other(
        self, exchange: Exchange, attempt: Attempt, outgoing: Outgoing, call: Call, target: Target
    ) -> None:
        target.upstream.enter()
        try:
            if call.stream:
                await self._stream(exchange, attempt, outgoing, call)
            else:
                await forward(exchange, attempt, await attempt.send(outgoing), call, self._clock())
        except asyncio.CancelledError:
            attempt.settle(cut_off(exchange), partial_usage(call.body_bytes))
            raise
        except ApiError:
            if attempt.durable:
                attempt.end()
                await attempt.flushed()
            raise
        finally:
            attempt.end()
            target.upstream.leave()

    async def _stream(self, exchange: Exchange, attempt: Attempt, outgoing: Outgoing, call: Call) -> None:
        tap = make_tap(call)
        stream = Stream(exchange, attempt, tap, self.pace, self._clock)
        self._pulse.add(stream)
        try:
            reply = await attempt.send(outgoing)
            if not is_stream(reply, outgoing.framing):
                raise UpstreamFailed("The upstream did not answer with a stream.")
            refuse_packed(reply)
            if call.endpoint.binary:
                attempt.passed = passed_on(reply)
            await stream.relay(reply, outgoing.translator, outgoing.framing)
        except asyncio.CancelledError:
            stream.settle(cut_off(exchange))
            raise
        except ApiError:
            stream.fail()
            raise
        finally:
            self._pulse.discard(stream)


def make_tap(call: Call) -> StreamTap | EventTap:
    """What reads along with a stream of this endpoint's."""
    if call.endpoint.typed_events:
        return EventTap(prompt_bytes=call.body_bytes)
    return StreamTap(
        withhold_usage=not call.wants_usage,
        prompt_bytes=call.body_bytes,
        # An endpoint whose requests have no `n` gives one answer.
        choices=getattr(call.request, "n", None) or 1,
    )


def cut_off(exchange: Exchange) -> Outcome:
    """How an attempt ends that is cancelled: by its client, or because the gate stops."""
    return Outcome.CLIENT_GONE if exchange.gone else Outcome.FAILED


def is_stream(reply: Reply, framing: Framing | None = None) -> bool:
    """Whether the upstream answers with a stream: of server-sent events, or as its dialect expects it."""
    kind = reply.header(b"content-type")
    expected = SERVER_SENT_EVENTS if framing is None else framing.content_type
    return kind is not None and kind.lower().startswith(expected)
