"""One try at one upstream, with its two journal records.

`open` is written before the request is sent; `settle` exactly once, whatever happens.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, time

from headgate.core.completion import CompletionRequest
from headgate.core.errors import (
    ApiError,
    ConnectFailed,
    ConnectionLost,
    Overloaded,
    StoreError,
    UpstreamError,
    UpstreamFailed,
    UpstreamTimedOut,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from headgate.core.observer import Passage, Try
from headgate.core.ports import Call, Exchange, Journal, Outcome, Outgoing, Principal, Reply
from headgate.core.usage import REPORTED, UNKNOWN_USAGE, Usage
from headgate.gateway.choose import Target
from headgate.gateway.judge import OURS, Verdict, judge_connection, judge_status
from headgate.gateway.settle import Bill

ERROR_BODY_BYTES = 65_536
"""An upstream's error above this is not read: nobody writes a longer message."""

RECORD_RETRY_MS = 5000
"""When to come back to a full disk: somebody has to make room."""


class Attempt:
    """A request on its way to one target."""

    settled = True
    """Nothing is open in the journal."""
    dropped: tuple[str, ...] = ()
    """Parameters that were left out of what was sent; the client is told."""
    passed: bytes = b""
    """Header lines of an engine of ours, for the client."""
    told = b""
    """Header lines that tell the client of this attempt, if the operator wants that."""
    reply: Reply | None = None
    first_byte_ms = 0.0
    """From the request to the reply's head; 0 while there is none."""
    answered_s = 0.0
    """When that came, on the loop's clock."""
    key = 0
    """With which of several keys it was sent."""
    keep = False
    """The request may have to be sent again, after its reply has begun."""
    release: Callable[[], None] | None = None
    """To be called when it has ended well, before its reply leaves: lets go of a heavy request."""
    verdict: Verdict | None = None
    """What it means that it failed; None while it has not, or where only the error can tell."""
    claim: Callable[[], None] | None = None
    """To be called before it is heard, where it has a rival; raises when that was heard first."""
    superseded = False
    """Its rival was heard first."""
    _number = 0
    _try: Try | None = None
    """What is noted of it where it is traced."""

    def __init__(
        self,
        exchange: Exchange,
        journal: Journal,
        principal: Principal,
        call: Call,
        target: Target,
        bill: Bill,
    ) -> None:
        self._exchange = exchange
        self._journal = journal
        self._principal = principal
        self._call = call
        self.target = target
        self._passage = exchange.passage
        self.bill = bill
        self.durable = journal.durable
        """Await `flushed` before the request leaves, and after `settle` before the reply's last byte does."""

    @property
    def sent(self) -> bool:
        """It was recorded, and so may have reached its upstream."""
        return self._number != 0

    async def send(self, outgoing: Outgoing) -> Reply:
        """Sends the request and returns a successful reply's head; raises ApiError for anything else."""
        upstream = self.target.upstream
        self.dropped = outgoing.dropped
        self._open()
        sent_s = monotonic()
        try:
            if self.durable:
                await self.flushed()
            if self._passage is not None and self._passage.trace is not None:
                self._trace(self._passage, outgoing)
            try:
                self.reply = reply = await upstream.send(outgoing)
            except ConnectionLost as lost:
                if lost.answered or not lost.reused:
                    raise
                # An idle connection died under us. Whether the request was read nobody knows, so the first
                # try stays in the journal as unknown.
                self.settle(Outcome.UNKNOWN, UNKNOWN_USAGE)
                self._open()
                if self.durable:
                    await self.flushed()
                self.reply = reply = await upstream.send(outgoing, fresh=True)
            self.answered_s = answered_s = monotonic()
            self.first_byte_ms = (answered_s - sent_s) * 1000
            self.key = outgoing.key
            if 200 <= reply.status < 300:
                # The reply may take minutes.
                outgoing.body, outgoing.mended = b"", None
                if not self.keep:
                    self._call.fields = {}
                return reply
            raise await self._refusal(reply)
        except UpstreamError as error:
            self.verdict = judge_connection(error)
            self.settle(Outcome.FAILED, UNKNOWN_USAGE)
            raise told(error) from None
        except ApiError as error:
            refused = self.reply is not None and error.status < 500
            self.settle(Outcome.REFUSED if refused else Outcome.FAILED, UNKNOWN_USAGE)
            raise

    def settle(self, outcome: Outcome, usage: Usage) -> None:
        """Writes how the attempt ended, and tells the observer; only the first call counts."""
        if not self.settled:
            self.settled = True
            if self.release is not None and outcome is Outcome.OK:
                self.release()
            status = self.reply.status if self.reply is not None else 0
            if usage.source is not REPORTED:
                usage = self.bill.recounted(usage)
            passage = self._passage
            if passage is not None:
                if passage.outcome is not None:
                    passage.observer.again(passage)
                passage.target = self.target.upstream.name
                passage.outcome, passage.status, passage.usage = outcome, status, usage
                if self._try is not None:
                    passage.observer.sent(self._try, outcome, status, usage)
            charge = self.bill.charge(self.target, outcome, usage)
            self._journal.close(self._number, outcome, status, usage, charge)

    async def flushed(self) -> None:
        """Returns when what was recorded so far would outlive a power cut; raises Overloaded."""
        try:
            await self._journal.flushed()
        except StoreError:
            self.verdict = OURS
            raise cannot_record() from None

    def end(self) -> None:
        """Lets go of the reply, and settles what a fault of ours has left open."""
        if self.reply is not None:
            self.reply.close()
        if not self.settled:
            self.settle(Outcome.SUPERSEDED if self.superseded else Outcome.FAILED, UNKNOWN_USAGE)

    def _open(self) -> None:
        target = self.target
        try:
            self._number = self._journal.open(
                self._exchange.request_id,
                self._principal.key_id,
                self._call.endpoint.name,
                self._call.model,
                target.upstream.name,
                target.upstream_model,
                self.bill.held(target),
            )
        except StoreError:
            self.verdict = OURS
            raise cannot_record() from None
        self.settled = False
        if self._passage is not None:
            self._passage.attempts += 1

    def _trace(self, passage: Passage, outgoing: Outgoing) -> None:
        """Tells the upstream of the trace."""
        target = self.target
        self._try, headers = passage.observer.sending(passage, target.upstream.name, target.upstream_model)
        # A request that is sent again has those of its first try.
        ours = {name for name, _ in headers}
        outgoing.headers = [*(line for line in outgoing.headers if line[0] not in ours), *headers]

    async def _refusal(self, reply: Reply) -> ApiError:
        error: ApiError
        if reply.status < 400:
            error = UpstreamFailed("The upstream answered with a redirect.")
        else:
            try:
                body = await reply.read(ERROR_BODY_BYTES)
            except UpstreamError:
                body = b""  # too long or cut short: the status stands all the same
            error = self.target.upstream.dialect.error(reply.status, reply.headers, body)
            if error.param == "messages" and isinstance(self._call.request, CompletionRequest):
                error.param = "prompt"  # a dialect is not told what its upstream was asked
        self.verdict = judge_status(
            reply.status, reply.headers, error, time(), guessed_model=self.target.guessed
        )
        return error


def cannot_record() -> Overloaded:
    """What a client is told while the journal cannot be written."""
    return Overloaded("The server cannot record requests now.", retry_after_ms=RECORD_RETRY_MS)


def told(error: UpstreamError) -> ApiError:
    """What a client is told of a broken connection: never an address, never a stack."""
    if isinstance(error, UpstreamTimeout):
        return UpstreamTimedOut("The upstream did not answer in time.")
    if isinstance(error, ConnectFailed):
        return UpstreamUnavailable("The upstream cannot be reached.")
    if isinstance(error, ConnectionLost):
        return UpstreamFailed("The upstream closed the connection before its reply was complete.")
    return UpstreamFailed("The upstream's reply is not valid HTTP.")
