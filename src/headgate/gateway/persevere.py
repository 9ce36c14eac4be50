"""Sees a request through after its first try has failed: elsewhere, again, or where an answer broke off.

What is tried, when and how often is decided in `retry`; how a try is made is `answer`'s business.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

from headgate.core.continuation import last_chunk
from headgate.core.errors import ApiError
from headgate.core.sse import DONE
from headgate.core.transcript import Beginning
from headgate.gateway.attempt import Attempt
from headgate.gateway.choose import Target
from headgate.gateway.errand import Errand, Leg
from headgate.gateway.hedge import Failure
from headgate.gateway.judge import CLIENTS, UNABLE, judge_error
from headgate.gateway.retry import Tries

Answer = Callable[[Errand, Attempt, Leg], Awaitable[None]]
Begin = Callable[[Errand, Target], Attempt]


async def persevere(
    errand: Errand,
    failures: Sequence[Failure],
    *,
    begin: Begin,
    answer: Answer,
    clock: Callable[[], float],
) -> None:
    """Tries until the request is answered; raises the ApiError that the client is told if it is not.

    `failures` are the attempts that have failed, the last one last.
    """
    exchange = errand.exchange
    tries = Tries(errand.plan, errand.facts(), exchange.started_s)
    for attempt, error in failures[:-1]:
        tries.failed(attempt.target, attempt.verdict or judge_error(error), error, sent=attempt.sent)
    attempt, error = failures[-1]
    broken: ApiError | None = None
    while True:
        if exchange.gone:
            raise error
        beginning = errand.beginning() if exchange.begun else Beginning()
        if beginning is None:
            raise broken or error
        verdict = attempt.verdict or judge_error(error)
        if not beginning.is_empty:
            if broken is not None and verdict is CLIENTS:
                verdict = UNABLE  # what it refused was of our own making
            broken = broken or error
            tries.go_on(clock(), in_text=bool(beginning.text.strip()))
        tries.failed(attempt.target, verdict, error, sent=attempt.sent)
        step = tries.next(clock(), random.random)
        if step is None:
            raise broken or tries.error(clock())
        if not await errand.bill.again():
            raise broken or error
        leg = errand.leg(beginning, step)
        if leg is None:
            exchange.finish(last_chunk(beginning) + DONE)
            return
        attempt = begin(errand, step.target)
        try:
            await answer(errand, attempt, leg)
        except ApiError as failure:
            error = failure
        else:
            return
