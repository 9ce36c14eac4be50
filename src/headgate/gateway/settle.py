"""What a request comes to: each of its attempts is priced, and what was reserved is replaced by their sum.

Runs on every way out. Must not know how tokens were counted.
"""

from __future__ import annotations

import msgspec

from headgate.core.accounting import FREE, NOTHING_HELD, Charge, Held, Hold, Standing
from headgate.core.demand import TOOL_FIELDS, prompt_tokens
from headgate.core.estimate import estimate_prompt_tokens
from headgate.core.exceeded import duration
from headgate.core.money import ONE, Ratio, charge
from headgate.core.ports import Call, Outcome, Principal
from headgate.core.price import NO_PRICE, Demand, Price, most, total
from headgate.core.price_book import PriceBook
from headgate.core.usage import Source, Usage
from headgate.gateway.choose import Target

NO_DEMAND = Demand()
"""Of a request that nothing is reserved for."""
_UNKNOWN, _ESTIMATED = Source.UNKNOWN, Source.ESTIMATED  # members of an enum are looked up slowly


class Bill:
    """One request's money: from what is held for it to what it came to. Every one is to be ended."""

    demand = NO_DEMAND
    hold: Hold | None = None
    _tokens = 0
    _price = 0
    _tool_bytes = 0
    _held: Held | None = None
    _held_at: Target | None = None

    def __init__(self, prices: PriceBook, principal: Principal, call: Call) -> None:
        self.call = call
        self._prices = prices
        self._principal = principal
        fields = call.fields
        if "tools" in fields or "functions" in fields or "response_format" in fields:
            self._tool_bytes = sum(memoryview(fields[name]).nbytes for name in TOOL_FIELDS if name in fields)

    def held(self, target: Target) -> Held:
        """What an attempt at a target can come to at most, and whose it is: for its journal record."""
        team_id = self._principal.team_id
        user: str = getattr(self.call.request, "user", None) or ""
        if self.demand is NO_DEMAND:
            return Held(0, 0, 0, team_id, user) if team_id or user else NOTHING_HELD
        held = self._held
        if held is None or target is not self._held_at:
            exact = most(self._price_at(target), self.demand)
            cost = price = charge(exact)
            ratio = self._ratio
            if ratio is not ONE:
                price = charge(exact, ratio)
            held = self._held = Held(self.demand.tokens, cost, price, team_id, user)
            self._held_at = target
        return held

    def recounted(self, usage: Usage) -> Usage:
        """The usage with its prompt counted by its words, where nothing but its size was looked at."""
        call = self.call
        if usage.source is _UNKNOWN or usage.input_tokens != estimate_prompt_tokens(call.body_bytes):
            return usage
        request = call.request
        tokens = prompt_tokens(request) + estimate_prompt_tokens(self._tool_bytes)
        if usage.source is _ESTIMATED and hasattr(request, "size") and not hasattr(request, "messages"):
            pictures = getattr(request, "n", None) or 1
            return msgspec.structs.replace(usage, input_tokens=tokens, output_tokens=0, images=pictures)
        return msgspec.structs.replace(usage, input_tokens=tokens)

    def charge(self, target: Target, outcome: Outcome, usage: Usage) -> Charge:
        """What an attempt has come to; adds it to the request's sum. Call it once for each."""
        if usage.source is _UNKNOWN:
            return FREE
        self._tokens += usage.input_tokens + usage.output_tokens
        price = self._price_at(target)
        if price is NO_PRICE:
            return FREE
        if usage.images:
            request = self.call.request
            size, quality = getattr(request, "size", None), getattr(request, "quality", None)
            exact = total(price, usage, size or "", quality or "")
        else:
            exact = total(price, usage)
        cost = price_paid = charge(exact)
        ratio = self._ratio
        if ratio is not ONE:
            price_paid = charge(exact, ratio)
        self._price += price_paid
        return Charge(cost, price_paid)

    async def again(self) -> bool:
        """Whether another attempt can be paid for, when earlier ones have cost something; reserves for it."""
        hold, tokens, price = self.hold, self._tokens, self._price
        if hold is None or not (tokens or price):
            return True
        self._tokens = self._price = 0
        return await hold.spend(tokens, price)

    def end(self) -> None:
        """Gives back what was reserved and not used."""
        if self.hold is not None:
            self.hold.settle(self._tokens, self._price)

    def headers(self) -> bytes:
        """The header lines that tell how the caller's rates stand; empty without any."""
        hold = self.hold
        if hold is None:
            return b""
        lines = b""
        if hold.requests is not None:
            lines = _lines(b"requests", hold.requests)
        if hold.tokens is not None:
            lines += _lines(b"tokens", hold.tokens)
        return lines

    @property
    def _ratio(self) -> Ratio:
        """What the team pays of what it costs."""
        accounts = self._principal.accounts
        return accounts[-1].multiplier(self.call.model) if accounts else ONE

    def _price_at(self, target: Target) -> Price:
        tariff = self._prices.tariff(target.model, target.upstream.name, target.upstream_model)
        return tariff.at(self.call.created_s * 1000)


def _lines(of: bytes, standing: Standing) -> bytes:
    return (b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %b\r\n") % (
        of,
        standing.limit,
        of,
        standing.remaining,
        of,
        duration(standing.reset_ms).encode(),
    )
