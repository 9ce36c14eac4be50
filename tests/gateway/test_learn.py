"""What an attempt teaches: told to the target's health, and to the key that was refused."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest

from headgate.backends.credentials import Keyring
from headgate.core.ports import Upstream
from headgate.core.settings_routing import Health
from headgate.gateway.choose import Target
from headgate.gateway.health import Condition, TargetHealth
from headgate.gateway.judge import BROKEN, CLIENTS, Blame, Verdict
from headgate.gateway.learn import learn

RULES = Health(failures=2, rest_ms=500, rest_max_ms=60_000, key_rest_ms=30_000)
LIMITED = Verdict(Blame.LIMIT, elsewhere=True, again=True)
REFUSED = Verdict(Blame.KEY, elsewhere=True)


class Named:
    """All that learning knows of an upstream."""

    name = "far"


def target(keys: int = 1) -> Target:
    """A target whose upstream has so many keys."""
    keyring = Keyring(keys) if keys > 1 else None
    return Target(
        "m", cast("Upstream", Named()), "m-there", 0, "far", health=TargetHealth(RULES), keyring=keyring
    )


def after(verdict: Verdict, keys: int = 1, times: int = 1, first_byte_ms: float = 5) -> Target:
    """A target that has had so many of these, with one key after another."""
    made = target(keys)
    for number in range(times):
        learn(made, number % keys, verdict, 100, first_byte_ms, False)
    return made


def test_failures_open_the_breaker_and_the_operator_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    assert after(BROKEN).health.condition(100) is Condition.FIT
    assert caplog.messages == []
    assert after(BROKEN, times=5).health.condition(100) is Condition.OPEN
    [line] = caplog.messages
    assert line.startswith('upstream "far" has failed too often for "m-there" (broken)')


def test_a_clients_mistake_shows_that_it_is_well() -> None:
    made = target()
    learn(made, 0, BROKEN, 100, 0, False)
    learn(made, 0, CLIENTS, 100, 5, False)
    learn(made, 0, BROKEN, 100, 0, False)
    assert made.health.condition(100) is Condition.FIT
    assert after(CLIENTS, first_byte_ms=0).health.snapshot(100).requests == 0, "it was not even asked"


@pytest.mark.parametrize(("asked_ms", "rested_ms"), [(None, 500), (7000, 7000), (10**9, 60_000), (0, 0)])
def test_a_limit_rests_it_for_the_time_asked(asked_ms: int | None, rested_ms: int) -> None:
    made = after(msgspec.structs.replace(LIMITED, rest_ms=asked_ms))
    assert made.health.snapshot(100).resting_ms == rested_ms
    assert made.health.condition(100 + rested_ms / 1000) is Condition.FIT, "and it is no failure"


def test_a_key_alone_that_is_refused_is_a_failure() -> None:
    assert after(REFUSED).health.condition(100) is Condition.FIT
    assert after(REFUSED, times=2).health.condition(100) is Condition.OPEN


def test_an_account_that_is_used_up_rests() -> None:
    made = after(msgspec.structs.replace(REFUSED, used_up=True))
    assert made.health.snapshot(100).resting_ms == 30_000


@pytest.mark.parametrize("verdict", [LIMITED, REFUSED])
def test_of_several_keys_one_rests_and_another_is_asked(
    verdict: Verdict, caplog: pytest.LogCaptureFixture
) -> None:
    made = target(3)
    for key in (0, 2):
        caplog.clear()
        softened = learn(made, key, verdict, 100, 5, False)
        expected = f'upstream "far": key {key + 1} of its api_keys is refused (other)'
        assert caplog.messages == ([expected] if verdict is REFUSED else [])
        assert softened.other_key
        assert made.health.condition(100) is Condition.FIT
    assert made.keyring is not None
    assert made.keyring.at_hand(100) == 1


def test_when_the_last_key_rests_the_target_does_until_the_first_is_back() -> None:
    made = target(2)
    learn(made, 0, msgspec.structs.replace(LIMITED, rest_ms=2000), 100, 5, False)
    told = learn(made, 1, msgspec.structs.replace(LIMITED, rest_ms=50_000), 100, 5, False)
    assert not told.other_key
    assert made.health.snapshot(100).resting_ms == 2000
    assert made.health.condition(102) is Condition.FIT


def test_a_probe_that_is_told_to_wait_has_found_it_well() -> None:
    made = after(BROKEN, times=2)
    assert made.health.condition(101) is Condition.PROBE
    probe = made.health.enter()
    learn(made, 0, LIMITED, 101, 5, probe)
    made.health.leave(probe)
    assert made.health.condition(101) is Condition.RESTING
    assert made.health.condition(101.6) is Condition.FIT
