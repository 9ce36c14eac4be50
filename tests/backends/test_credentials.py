"""Several keys: asked in turn, rested one by one; and what is really sent."""

from __future__ import annotations

import asyncio
import re

import hypothesis.strategies as st
from hypothesis import given

from headgate.backends.credentials import KeyedUpstream, Keyring
from headgate.backends.upstreams import Place
from headgate.core.ports import Outgoing
from headgate.dialects.openai import OpenAI, bearer
from tests.backends.scripted import OK, Line, pooled, scripted
from tests.conftest import run


def test_keys_take_turns() -> None:
    keyring = Keyring(3)
    assert [keyring.take(100) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_one_that_rests_is_left_out_until_its_time() -> None:
    keyring = Keyring(3)
    keyring.rest(1, 100, 5000)
    assert [keyring.take(104) for _ in range(4)] == [0, 2, 0, 2]
    assert keyring.at_hand(104) == 2
    assert keyring.at_hand(105) == 3
    assert 1 in [keyring.take(105) for _ in range(3)]


def test_when_all_rest_the_shortest_rest_is_asked() -> None:
    keyring = Keyring(2)
    keyring.rest(0, 100, 9000)
    assert keyring.waits_ms(101) == 0
    keyring.rest(1, 100, 4000)
    assert keyring.waits_ms(101) == 3000
    assert keyring.take(101) == 1
    assert keyring.at_hand(101) == 0


@given(st.integers(2, 5), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9000), st.integers(0, 4))))
def test_whoever_is_taken_is_at_hand_if_anybody_is(count: int, events: list[tuple[int, int, int]]) -> None:
    keyring, resting, now_s = Keyring(count), [0.0] * count, 100.0
    for number, rest_ms, step_s in events:
        now_s += step_s
        key = number % count
        resting[key] = max(resting[key], now_s + rest_ms / 1000)
        fit = [index for index in range(count) if resting[index] <= now_s]
        keyring.rest(key, now_s, rest_ms)
        assert keyring.at_hand(now_s) == len(fit)
        taken = keyring.take(now_s)
        assert taken in fit if fit else resting[taken] == min(resting)


def test_each_key_is_sent_in_its_turn() -> None:
    seen: list[bytes] = []

    async def script(line: Line) -> None:
        while True:
            found = re.search(rb"authorization: Bearer (\S+)", await line.request())
            seen.append(found[1] if found else b"")
            await line.send(OK)

    async def main() -> None:
        async with scripted(script) as upstream, pooled(upstream.address) as pool:
            places = [Place(pool, upstream.address, bearer(key)) for key in ("sk-one", "sk-two", "sk-three")]
            keyed = KeyedUpstream("far", OpenAI(), places, None)
            assert "sk-" not in repr(keyed) + repr(keyed.__dict__)
            for _ in range(4):
                outgoing = Outgoing("/chat/completions", b"{}")
                reply = await keyed.send(outgoing)
                await reply.read(10)
                reply.close()
                if outgoing.key == 1:
                    keyed.keyring.rest(outgoing.key, asyncio.get_running_loop().time(), 60_000)

    run(main())
    assert seen == [b"sk-one", b"sk-two", b"sk-three", b"sk-one"]
