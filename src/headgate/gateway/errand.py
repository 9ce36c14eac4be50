"""One request on its way through: what every try of it needs, kept until no other try can follow."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headgate.core.continuation import Continuation, can_continue, continued_body
from headgate.core.cut import CutBody
from headgate.core.ports import Call, Exchange, Outgoing, Principal
from headgate.core.transcript import Beginning, Opening, Transcript
from headgate.gateway.admit import admit
from headgate.gateway.choose import NO_FACTS, Facts, Plan
from headgate.gateway.gauge import gauge
from headgate.gateway.retry import Step
from headgate.gateway.settle import Bill
from headgate.gateway.translate import make_whole

Fill = Callable[[Outgoing, Call], None]
"""Puts an upload into what goes upstream."""


class Leg:
    """How one try differs from the first."""

    __slots__ = ("call", "continuation", "wait_ms")

    def __init__(self, call: Call, wait_ms: int = 0, continuation: Continuation | None = None) -> None:
        self.call = call
        self.wait_ms = wait_ms
        """To be waited before."""
        self.continuation = continuation
        """Where an answer was begun."""


class Errand(msgspec.Struct):
    """One request on its way through: what every try of it needs."""

    exchange: Exchange
    principal: Principal
    call: Call
    plan: Plan
    bill: Bill
    cut: CutBody | None = None
    """What the call was read from, when long runs of base64 are cut out of it."""
    fill: Fill | None = None
    note: Opening | Transcript | None = None
    """What was said of a stream, for whoever goes on with it."""
    count: int = 0
    """Tries so far, the one under way included."""

    def take_notes(self) -> Opening | Transcript:
        """Begins to keep what is said of a stream, or goes on with it."""
        note = self.note
        if note is None:
            unbroken = self.plan.rules.unbroken and can_continue(self.call.request)
            self.note = note = Transcript() if unbroken else Opening()
        return note

    def release(self) -> None:
        """No other try can follow: the request is not needed any more, and the reply may take minutes."""
        self.call.fields, self.cut = {}, None

    def facts(self) -> Facts:
        """What the choice of a target depends on."""
        call, plan = self.call, self.plan
        if not plan.needs_facts:
            return NO_FACTS
        return gauge(call.request, call.fields, call.body_bytes, self.principal.key_id, plan.rules)

    def beginning(self) -> Beginning | None:
        """What the client was told so far; None when nobody can go on with it."""
        return self.note.beginning() if self.note is not None else None

    def leg(self, beginning: Beginning, step: Step) -> Leg | None:
        """The next try: for the whole answer, or for its rest; None when there is none."""
        call = self.call
        if not beginning.is_empty:
            make_whole(call, self.cut)
            body = continued_body(call.fields, beginning, step.target.prefill or "plain")
            if body is None:
                return None
            host = call.host
            call = admit(call.endpoint, body, call.request_id)
            call.host = host
        return Leg(call, step.wait_ms, Continuation(beginning) if beginning.opened else None)
