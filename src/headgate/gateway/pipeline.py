"""The life of a model request: authenticate, admit, route, reserve, choose, attempt, relay, settle."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial

from headgate.core.cut import CutBody
from headgate.core.endpoint import Endpoint
from headgate.core.errors import ApiError
from headgate.core.observer import Observer
from headgate.core.ports import Bring, Call, Exchange, Host, Journal, Keys, Principal
from headgate.gateway.admit import admit
from headgate.gateway.answer import Answering
from headgate.gateway.attempt import Attempt
from headgate.gateway.authorize import admitted, authorize_model
from headgate.gateway.carry import HEAVY_BYTES, carry
from headgate.gateway.choose import Target, choose
from headgate.gateway.errand import Errand, Fill
from headgate.gateway.form import carry_form
from headgate.gateway.hedge import Failure, Race
from headgate.gateway.persevere import persevere
from headgate.gateway.record import name_model, watched
from headgate.gateway.reserve import Reserve
from headgate.gateway.route import Models, plan_for
from headgate.gateway.shape import forwarded, shaped
from headgate.gateway.spool import Spool
from headgate.gateway.stream import Pace
from headgate.gateway.tell import tell
from headgate.gateway.within import within


class Gate:
    """Everything a request needs on its way; one for the process."""

    def __init__(self, keys: Keys, journal: Journal, models: Models, pace: Pace) -> None:
        self.keys = keys
        self.models = models
        """Replaced whole when the configuration changes; a request uses the one it began with."""
        self.reserve = Reserve()
        """What limits, budgets and prices say; nothing is limited until somebody puts another here."""
        self.observer: Observer | None = None
        """Told of every request; without one, nobody sees any."""
        self.host: Host | None = None
        """Keeps what models draw; without it, pictures come as data URLs."""
        self._journal = journal
        self._clock = asyncio.get_running_loop().time
        self._answering = Answering(pace, self._clock)

    @property
    def pace(self) -> Pace:
        """When quiet streams get a comment."""
        return self._answering.pace

    @pace.setter
    def pace(self, pace: Pace) -> None:
        self._answering.pace = pace

    @property
    def bring(self) -> Bring:
        """Brings pictures to upstreams that take them inline only."""
        return self._answering.bring

    @bring.setter
    def bring(self, bring: Bring) -> None:
        self._answering.bring = bring

    def handler(self, endpoint: Endpoint) -> Callable[[Exchange], Awaitable[None]]:
        """The handler of one endpoint that names a model."""
        make = self._upload_handler if endpoint.uploads else self._body_handler
        return make(endpoint) if endpoint.error_event is None else shaped(make(endpoint), endpoint)

    def _body_handler(self, endpoint: Endpoint) -> Callable[[Exchange], Awaitable[None]]:
        """The handler of an endpoint whose requests are JSON."""

        async def handle(exchange: Exchange) -> None:
            exchange = watched(exchange, endpoint.name, self.observer)
            principal = admitted(exchange, self.keys, endpoint)
            body = exchange.body_at_hand()
            if body is None:
                body = await exchange.body(HEAVY_BYTES)
            cut = None
            if len(body) <= HEAVY_BYTES:
                call = admit(endpoint, body, exchange.request_id)
            else:
                call, cut = await carry(
                    exchange, body, partial(admit, endpoint, request_id=exchange.request_id)
                )
            del body  # the reply may take minutes
            if endpoint.forwards:
                call.headers = forwarded(exchange, endpoint)
            await self._serve(exchange, principal, call, cut=cut)

        return handle

    def _upload_handler(self, endpoint: Endpoint) -> Callable[[Exchange], Awaitable[None]]:
        """The handler of an endpoint whose requests are forms."""

        async def handle(exchange: Exchange) -> None:
            exchange = watched(exchange, endpoint.name, self.observer)
            principal = admitted(exchange, self.keys, endpoint)
            spool = Spool()
            try:
                if is_json(exchange):
                    call, fill = admit(endpoint, await exchange.body(), exchange.request_id), None
                else:
                    call, fill = await carry_form(exchange, endpoint, spool)
                await self._serve(exchange, principal, call, fill=fill)
            finally:
                spool.close()

        return handle

    async def _serve(
        self,
        exchange: Exchange,
        principal: Principal,
        call: Call,
        *,
        cut: CutBody | None = None,
        fill: Fill | None = None,
    ) -> None:
        """Answers a checked request, from the model's plan to the end of its bill."""
        call.host = self.host
        plan = plan_for(self.models, call.model)
        name_model(exchange.passage, call, plan)
        authorize_model(principal, call.model)
        bill = self.reserve.unlimited(principal, call) or await self.reserve.begin(
            principal, call, plan.targets, 1 + plan.hedged
        )
        try:
            errand = Errand(exchange, principal, call, plan, bill, cut, fill)
            if plan.rules.total_timeout_ms is None:
                await self._see_through(errand)
            else:
                async with within(plan.rules.total_timeout_ms):
                    await self._see_through(errand)
        finally:
            bill.end()

    async def _see_through(self, errand: Errand) -> None:
        """Tries until the request is answered; nearly always that is once."""
        plan = errand.plan
        plan.budget.earn()
        target = plan.alone
        if target is None or not target.health.fit:
            target = self._choose(errand)
        attempt = self._begin(errand, target)
        if plan.hedged:
            failures = await self._hedge(errand, attempt)
        else:
            try:
                await self._answering.answer(errand, attempt)
            except ApiError as error:
                failures = [(attempt, error)]
            else:
                return
        if failures:
            await persevere(
                errand, failures, begin=self._begin, answer=self._answering.answer, clock=self._clock
            )

    def _choose(self, errand: Errand) -> Target:
        found = choose(errand.plan, errand.facts(), self._clock(), random.random)
        if isinstance(found, ApiError):
            raise found
        return found

    def _begin(self, errand: Errand, target: Target) -> Attempt:
        plan = errand.plan
        attempt = Attempt(errand.exchange, self._journal, errand.principal, errand.call, target, errand.bill)
        attempt.keep = plan.retries
        if errand.cut is not None:
            attempt.release = errand.release
        errand.count += 1
        if not plan.plain:
            attempt.told = tell(plan.rules, target, errand.count)
        return attempt

    async def _hedge(self, errand: Errand, attempt: Attempt) -> list[Failure]:
        plan = errand.plan

        def second() -> Attempt | None:
            found = choose(plan, errand.facts(), self._clock(), random.random, (attempt.target,))
            if isinstance(found, ApiError) or not plan.budget.spend():
                return None
            return self._begin(errand, found)

        assert plan.rules.hedge_after_ms is not None
        race = Race(errand.exchange, partial(self._answering.answer, errand))
        return await race.run(attempt, plan.rules.hedge_after_ms, second)


def is_json(exchange: Exchange) -> bool:
    """Whether what could be a form is JSON."""
    return (exchange.header(b"content-type") or b"").lower().startswith(b"application/json")
