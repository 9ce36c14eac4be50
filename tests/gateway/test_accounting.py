"""Limits, budgets and prices on the way through a gate: what is refused, told, and kept in the journal."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec

from headgate.core.image import ImageRequest
from headgate.core.limit import Account, Budget, Limits
from headgate.core.money import Ratio
from headgate.core.ports import Call, Outcome, Principal
from headgate.core.price import Price, derive
from headgate.core.price_book import Listed, PriceBook
from headgate.core.settings_routing import Traits
from headgate.core.usage import Source, Usage
from headgate.endpoints import CHAT_COMPLETIONS
from headgate.gateway.admit import admit
from headgate.gateway.reserve import Reserve, Rules
from headgate.gateway.settle import Bill
from headgate.store.counters import MemoryCounters
from headgate.store.keys import KeyTable, hash_key
from tests.conftest import run
from tests.gateway.house import (
    DONE,
    LAST,
    ROLE,
    STREAM,
    House,
    answer,
    chunk,
    event,
    finished,
    house,
    said,
    sending,
    usage,
    whole,
)

CALLER = "sk-of-a-caller-0123456789"
PRICE = Price(rates=derive(input=2_000_000, output=10_000_000))
"""2 nano-dollars for each token in, 10 for each out."""


class Nothing:
    """A ledger without entries."""

    async def spent(self, account: str, since_ms: int) -> int:
        return 0

    async def balance(self, team_id: str) -> int:
        return 0

    async def credited(self, team_id: str) -> int:
        return 0


def furnish(gate: House, *accounts: Account, **rules: Any) -> MemoryCounters:
    """Gives the house counters and prices, and lets a caller in."""
    counters = MemoryCounters(
        Nothing(),
        UTC,
        clock_ms=lambda: time.monotonic_ns() // 1_000_000,
        wall_ms=lambda: time.time_ns() // 1_000_000,
        on_crossing=lambda crossing: None,
    )
    book = PriceBook([Listed("m", "", PRICE)], [], lambda upstream, model: ())
    gate.gate.reserve = Reserve(counters, Rules(book, answer_tokens=100, **rules))
    assert isinstance(gate.gate.keys, KeyTable)
    gate.gate.keys.put(hash_key(CALLER), Principal("k", "caller", "t", accounts))
    return counters


def limited(**limits: int) -> Account:
    return Account(id="key:k", limits=Limits(**limits))


def test_headers_tell_how_requests_and_tokens_stand(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(whole(answer(prompt=5, completion=1)))) as gate:
            furnish(gate, limited(requests_per_minute=60, tokens_per_minute=6000))
            told = (await gate.call(key=CALLER)).headers
            assert told["x-ratelimit-limit-requests"] == "60"
            assert told["x-ratelimit-remaining-requests"] == "59"
            assert told["x-ratelimit-reset-requests"] == "1s"
            assert told["x-ratelimit-limit-tokens"] == "6000"
            reserved = 6000 - int(told["x-ratelimit-remaining-tokens"])
            assert 100 < reserved < 120
            again = (await gate.call(key=CALLER)).headers
            # The first request is settled by now: of what it had reserved, 6 tokens are left.
            assert 6000 - int(again["x-ratelimit-remaining-tokens"]) <= reserved + 6
            assert "x-ratelimit-limit-requests" not in (await gate.call()).headers

    run(main())


def test_a_rate_that_is_used_up_is_told_with_a_time(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(whole(answer()))) as gate:
            furnish(gate, limited(requests_per_day=1))
            assert (await gate.call(key=CALLER)).status == 200
            refused = await gate.call(key=CALLER)
            assert (refused.status, refused.error["type"]) == (429, "requests")
            assert refused.error["code"] == "rate_limit_exceeded"
            assert 86_000_000 < int(refused.headers["retry-after-ms"]) <= 86_400_000
            assert len(gate.records()) == 1, "nothing was sent for it"

    run(main())


def test_a_spent_budget_is_told_and_not_to_be_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(whole(answer(prompt=5, completion=100)))) as gate:
            counters = furnish(gate, Account(id="key:k", budgets=(Budget(amount_nanodollars=2500),)))
            statuses = [(await gate.call(key=CALLER)).status for _ in range(4)]
            assert statuses == [200, 200, 429, 429]
            refused = await gate.call(key=CALLER)
            assert refused.error["type"] == refused.error["code"] == "insufficient_quota"
            assert refused.headers["x-should-retry"] == "false"
            assert "retry-after" not in refused.headers
            assert counters.reserved == 0
            charges = [closed.charge for closed in await gate.settled(2)]
            assert [charge.cost_nanodollars for charge in charges] == [1010, 1010]

    run(main())


def test_cost_and_price_are_two_and_the_journal_has_what_was_reserved(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(whole(answer(prompt=5, completion=1)))) as gate:
            team = Account(id="team:t", prepaid=False, multipliers={"m*": Ratio(3, 2), "*": Ratio(9)})
            furnish(gate, team, models={"m": Limits(tokens_per_minute=10_000)})
            assert (await gate.call(key=CALLER, user="ann", max_tokens=7)).status == 200
            ((opened, closes),) = gate.records()
            assert (opened.held.team_id, opened.held.user) == ("t", "ann")
            assert opened.held.price_nanodollars == -(-opened.held.cost_nanodollars * 3 // 2)
            assert opened.held.cost_nanodollars == (opened.held.tokens - 7) * 2 + 70
            (closed,) = closes
            assert (closed.charge.cost_nanodollars, closed.charge.price_nanodollars) == (20, 30)
            assert closed.usage.source is Source.REPORTED

    run(main())


def test_a_key_without_limits_is_priced_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(whole(answer(prompt=5, completion=1)))) as gate:
            furnish(gate)
            assert (await gate.call()).status == 200
            (closed,) = await gate.settled()
            assert closed.charge.cost_nanodollars == closed.charge.price_nanodollars == 20

    run(main())


def test_a_stream_is_settled_with_what_it_reported(tmp_path: Path) -> None:
    async def main() -> None:
        events = (ROLE, said("Hello"), finished(), usage(5, 1), DONE)
        body = b"".join(map(chunk, events))
        async with house(tmp_path, sending(STREAM, body, LAST)) as gate:
            counters = furnish(gate, limited(concurrent_requests=1, tokens_per_minute=1000))
            for _ in range(3):
                told = await gate.call(stream=True, key=CALLER)
                assert told.status == 200
                assert "x-ratelimit-remaining-tokens" in told.headers
            assert [closed.charge.cost_nanodollars for closed in await gate.settled(3)] == [20] * 3
            assert counters.taken == counters.reserved == 0

    run(main())


def test_whatever_goes_wrong_nothing_stays_reserved(tmp_path: Path) -> None:
    broken = whole(b'{"error": {"message": "no"}}', "500 Broken")
    in_stream = b"".join(map(chunk, (ROLE, said("Hello"), event(error={"message": "no"}))))

    async def main() -> None:
        for name, pieces, stream in (
            ("error", (broken,), False),
            ("no JSON", (whole(b"?"),), False),
            ("error in the stream", (STREAM, in_stream, LAST), True),
            ("broken off", (STREAM, chunk(ROLE), LAST), True),
        ):
            (tmp_path / name).mkdir()
            async with house(tmp_path / name, sending(*pieces)) as gate:
                account = Account(
                    id="key:k",
                    limits=Limits(concurrent_requests=1),
                    budgets=(Budget(amount_nanodollars=10_000),),
                )
                counters = furnish(gate, account)
                for _ in range(2):
                    told = await gate.call(stream=stream, key=CALLER)
                    assert told.status != 429, name
                assert counters.taken == counters.reserved == 0, name

    run(main())


def test_a_client_that_leaves_pays_for_what_had_come(tmp_path: Path) -> None:
    async def main() -> None:
        async def script(line: Any) -> None:
            await line.request()
            await line.send(STREAM, chunk(ROLE), chunk(said("one two three")))
            await asyncio.Event().wait()

        async with house(tmp_path, script) as gate:
            counters = furnish(gate, Account(id="key:k", budgets=(Budget(amount_nanodollars=10_000),)))
            client = await gate.client()
            await client.ask(stream=True, key=CALLER)
            await client.head()
            await client.until(said("one two three"))
            client.hang_up()
            (closed,) = await gate.settled()
            assert closed.outcome is Outcome.CLIENT_GONE
            assert closed.usage.source is Source.PARTIAL
            assert closed.charge.price_nanodollars > 0
            await until_free(counters)

    run(main())


async def until_free(counters: MemoryCounters) -> None:
    async with asyncio.timeout(10):
        while counters.reserved:
            await asyncio.sleep(0.005)


def test_a_crowd_gets_exactly_what_the_budget_holds(tmp_path: Path) -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def script(line: Any) -> None:
            while True:
                await line.request()
                await gone.wait()
                await line.send(whole(answer(prompt=1, completion=100)))

        async with house(tmp_path, script) as gate:
            counters = furnish(gate, Account(id="key:k", budgets=(Budget(amount_nanodollars=30_000),)))
            calls = [asyncio.create_task(gate.call(key=CALLER)) for _ in range(200)]
            while counters.reserved + 1100 < 30_000:
                await asyncio.sleep(0.005)
            gone.set()
            statuses = [told.status for told in await asyncio.gather(*calls)]
            held = gate.records()[0][0].held.price_nanodollars
            assert statuses.count(200) == 30_000 // held
            assert statuses.count(429) == 200 - 30_000 // held
            assert counters.reserved == 0

    run(main())


def test_an_operators_change_of_a_key_counts_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(whole(answer()))) as gate:
            furnish(gate, limited(requests_per_day=1))
            assert [(await gate.call(key=CALLER)).status for _ in range(2)] == [200, 429]
            assert isinstance(gate.gate.keys, KeyTable)
            gate.gate.keys.put(
                hash_key(CALLER), Principal("k", "caller", "t", (limited(requests_per_day=2),))
            )
            assert [(await gate.call(key=CALLER)).status for _ in range(2)] == [200, 429]

    run(main())


def test_a_prompt_that_nobody_counted_is_counted_by_its_words(tmp_path: Path) -> None:
    reply = b'{"choices": [{"message": {"content": "Hello"}}]}'

    async def main() -> None:
        async with house(tmp_path, sending(whole(reply))) as gate:
            furnish(gate)
            tool = {"type": "function", "function": {"name": "find", "parameters": {}}}
            picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 40_000}}
            content = [{"type": "text", "text": "What is this?"}, picture]
            several: list[dict[str, Any]] = [{}, {"tools": [tool]}]
            for more in several:
                messages = [{"role": "user", "content": content}]
                assert (await gate.call(messages=messages, **more)).status == 200
            plain, tools = [closed.usage for closed in await gate.settled(2)]
            assert plain.source is Source.ESTIMATED
            assert 1445 < plain.input_tokens < 1470, "the picture by its size, not by its bytes"
            assert plain.input_tokens + 10 < tools.input_tokens < plain.input_tokens + 40

    run(main())


def test_what_is_asked_of_two_at_once_is_reserved_twice_and_no_answer_is_longer_than_a_context(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(whole(answer()))) as gate:
            account = Account(id="key:k", budgets=(Budget(amount_nanodollars=10**9),))
            counters = furnish(gate, account)
            principal = Principal("k", "caller", "t", (account,))
            target = gate.gate.models.targets["m"]
            small = msgspec.structs.replace(target, traits=Traits(context_tokens=50))
            body = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}'
            call = admit(CHAT_COMPLETIONS, body, "")
            bill = await gate.gate.reserve.begin(principal, call, [target], 2)
            assert bill.demand.output_tokens == 100
            assert counters.reserved == 2 * bill.held(target).price_nanodollars
            bill.end()
            assert counters.reserved == 0
            bill = await gate.gate.reserve.begin(principal, call, [small])
            assert bill.demand.output_tokens == 50
            bill.end()

    run(main())


def test_pictures_that_nobody_counted_are_paid_for_by_number_size_and_quality(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, sending(whole(answer()))) as gate:
            target = gate.gate.models.targets["m"]
            price = Price(images={"hd/1024x1024": 80_000_000, "1024x1024": 40_000_000})
            book = PriceBook([Listed("m", "", price)], [], lambda upstream, model: ())
            request = ImageRequest(prompt="a fox", n=2, size="1024x1024", quality="hd")
            call = Call(CHAT_COMPLETIONS, request, {}, False, False, "m", body_bytes=400)
            bill = Bill(book, Principal("k", "caller"), call)
            usage = bill.recounted(Usage(Source.ESTIMATED, 100, 0, 50_000))
            assert (usage.images, usage.output_tokens) == (2, 0)
            assert bill.charge(target, Outcome.OK, usage).cost_nanodollars == 160

    run(main())
