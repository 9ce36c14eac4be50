"""One attempt, from its place at the target to its end: whole replies, streams, what is learnt of either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headgate.core.errors import ApiError, BadRequest, InvalidField, NotFound, QueueFull, UpstreamFailed
from headgate.core.ports import Bring, Call, Exchange, Framing, Outcome, Outgoing, Reply
from headgate.core.seeing import PicturesWanted
from headgate.core.tap import StreamTap, partial_usage
from headgate.core.tap_events import EventTap
from headgate.gateway.attempt import Attempt
from headgate.gateway.errand import Errand, Leg
from headgate.gateway.forward import forward, passed_on
from headgate.gateway.judge import UNABLE, judge_error
from headgate.gateway.learn import learn, recovered
from headgate.gateway.places import rise, sit
from headgate.gateway.pulse import Pulse
from headgate.gateway.relay import refuse_packed, relay_at_hand, relay_whole
from headgate.gateway.see import see
from headgate.gateway.stream import Pace, Stream, at_first_word
from headgate.gateway.translate import make_whole, translate
from headgate.gateway.within import within

SERVER_SENT_EVENTS = b"text/event-stream"

PULSE_STEP_MS = 500
"""How often quiet streams are looked for: a tenth of the usual comment interval."""


class Answering:
    """How answers are passed on; one for the process."""

    def __init__(self, pace: Pace, clock: Callable[[], float]) -> None:
        self.pace = pace
        self.bring: Bring = refuse_pictures
        """Brings pictures to upstreams that take them inline only."""
        self._pulse = Pulse(PULSE_STEP_MS)
        self._clock = clock

    async def answer(self, errand: Errand, attempt: Attempt, leg: Leg | None = None) -> None:
        """Makes the attempt; raises the ApiError that it ended with, after the target's health was told."""
        target = attempt.target
        health = target.health
        if target.places:
            await sit(target.places)
        try:
            target.upstream.enter()
        except QueueFull:
            rise(target.places)
            raise
        probe = False
        if health.fit:  # as `enter` does, which would be a call
            health.in_flight += 1
        else:
            probe = health.enter()
        try:
            if errand.call.stream:
                await self._stream(errand, attempt, leg)
            else:
                await self._whole(errand, attempt, leg)
            health.succeeded(attempt.answered_s, attempt.first_byte_ms, probe)
            if probe:
                recovered(target)
        except asyncio.CancelledError:
            attempt.settle(cut_off(errand.exchange, attempt), partial_usage(errand.call.body_bytes))
            raise
        except ApiError as error:
            verdict = attempt.verdict or judge_error(error)
            attempt.verdict = learn(target, attempt.key, verdict, self._clock(), attempt.first_byte_ms, probe)
            if attempt.durable:
                attempt.end()
                await attempt.flushed()
            raise
        finally:
            attempt.end()
            target.upstream.leave()
            health.leave(probe)
            if target.places:
                rise(target.places)

    async def _whole(self, errand: Errand, attempt: Attempt, leg: Leg | None) -> None:
        exchange, call = errand.exchange, errand.call
        if leg is not None and leg.wait_ms:
            await asyncio.sleep(leg.wait_ms / 1000)
        try:
            outgoing = say(errand, call, attempt)
        except PicturesWanted:
            outgoing = await self._say_shown(errand, call, attempt)
        reply = await attempt.send(outgoing)
        if attempt.claim is not None:
            attempt.claim()
        translator = outgoing.translator
        if call.endpoint.uploads or call.endpoint.binary:
            await forward(exchange, attempt, reply, translator, call, attempt.answered_s)
        elif reply.complete and not attempt.durable:
            relay_at_hand(exchange, attempt, reply, translator, call.body_bytes, attempt.answered_s)
        else:
            await relay_whole(exchange, attempt, reply, translator, call.body_bytes, attempt.answered_s)

    async def _stream(self, errand: Errand, attempt: Attempt, leg: Leg | None) -> None:
        rules = errand.plan.rules
        call = errand.call if leg is None else leg.call
        stream = Stream(errand.exchange, attempt, make_tap(call), self.pace, self._clock)
        stream.token_timeout_ms = rules.token_timeout_ms
        if attempt.keep:
            stream.note = errand.take_notes()
            stream.release = errand.release
        if leg is not None and leg.continuation is not None:
            stream.before = leg.continuation.rewrite
        self._pulse.add(stream)
        try:
            if leg is not None and leg.wait_ms:
                await asyncio.sleep(leg.wait_ms / 1000)
            try:
                outgoing = say(errand, call, attempt)
            except PicturesWanted:
                outgoing = await self._say_shown(errand, call, attempt)
            if attempt.claim is not None:
                stream.before = at_first_word(attempt.claim, stream.before)
            if rules.first_token_timeout_ms is None:
                await flow(stream, call, attempt, outgoing)
            else:
                async with within(rules.first_token_timeout_ms) as limit:
                    stream.before = at_first_word(limit.lift, stream.before)
                    await flow(stream, call, attempt, outgoing)
        except asyncio.CancelledError:
            stream.settle(cut_off(errand.exchange, attempt))
            raise
        except ApiError:
            stream.fail()
            raise
        finally:
            self._pulse.discard(stream)

    async def _say_shown(self, errand: Errand, call: Call, attempt: Attempt) -> Outgoing:
        """As `say`, once the pictures that the target has to see have been brought."""
        make_whole(call, errand.cut)
        await see(call, self.bring)
        return say(errand, call, attempt)


async def refuse_pictures(url: str, field: str, detail: str | None) -> str:
    """What stands for whoever brings pictures, where there is nobody."""
    raise InvalidField(
        f"Invalid '{field}': this server reads no pictures.", param=field, code="invalid_value"
    )


def say(errand: Errand, call: Call, attempt: Attempt) -> Outgoing:
    """The request in its target's words; raises BadRequest or NotFound for what cannot be said there."""
    try:
        outgoing = translate(call, errand.cut, attempt.target)
    except (BadRequest, NotFound):
        attempt.verdict = UNABLE
        raise
    if errand.fill is not None:
        errand.fill(outgoing, call)
    return outgoing


async def flow(stream: Stream, call: Call, attempt: Attempt, outgoing: Outgoing) -> None:
    """Sends a request for a stream, and passes on what comes."""
    reply = await attempt.send(outgoing)
    if not is_stream(reply, outgoing.framing):
        raise UpstreamFailed("The upstream did not answer with a stream.")
    refuse_packed(reply)
    if call.endpoint.binary:
        attempt.passed = passed_on(reply)
    await stream.relay(reply, outgoing.translator, outgoing.framing)


def make_tap(call: Call) -> StreamTap | EventTap:
    """What reads along with a stream of this endpoint's."""
    if call.endpoint.typed_events:
        return EventTap(prompt_bytes=call.body_bytes)
    return StreamTap(
        withhold_usage=not call.wants_usage,
        prompt_bytes=call.body_bytes,
        # An endpoint whose requests have no `n` gives one answer.
        choices=getattr(call.request, "choice_count", None) or getattr(call.request, "n", None) or 1,
    )


def cut_off(exchange: Exchange, attempt: Attempt) -> Outcome:
    """How an attempt ends that is cancelled: by its rival, by its client, or because the gate stops."""
    if attempt.superseded:
        return Outcome.SUPERSEDED
    return Outcome.CLIENT_GONE if exchange.gone else Outcome.FAILED


def is_stream(reply: Reply, framing: Framing | None = None) -> bool:
    """Whether the upstream answers with a stream: of server-sent events, or as its dialect expects it."""
    kind = reply.header(b"content-type")
    expected = SERVER_SENT_EVENTS if framing is None else framing.content_type
    return kind is not None and kind.lower().startswith(expected)
