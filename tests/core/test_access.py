"""What a key may be used for: names as they are written, addresses in every form."""

from __future__ import annotations

import pytest

from headgate.core.access import EVERYTHING, access, client_address


def test_nothing_said_restricts_nothing() -> None:
    assert access(None, None, None) is EVERYTHING
    assert EVERYTHING.may_call("anything")
    assert EVERYTHING.may_use("anything")
    assert EVERYTHING.may_come_from("")


def test_an_empty_list_allows_nothing() -> None:
    nothing = access((), (), ())
    assert not nothing.may_call("models")
    assert not nothing.may_use("gpt")
    assert not nothing.may_come_from("127.0.0.1")


@pytest.mark.parametrize(
    ("pattern", "model", "fits"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o", "GPT-4o", False),
        ("gpt-*", "gpt-", True),
        ("gpt-*", "gpt-4/5", True),
        ("gpt-?", "gpt-44", False),
        ("*", "", True),
        ("gpt-[45]", "gpt-4", False),
        ("gpt-[45]", "gpt-[45]", True),
        ("gpt", "gp\u0442", False),
    ],
)
def test_models_by_name_or_pattern(pattern: str, model: str, fits: bool) -> None:
    found = access(None, ("other", pattern), None)
    for _ in range(2):  # the second answer is remembered
        assert found.may_use(model) is fits


def test_answers_are_remembered_for_so_many_models_and_no_more() -> None:
    found = access(None, ("m1*",), None)
    for number in range(3000):
        assert found.may_use(f"m{number}") is str(number).startswith("1")
    assert len(found.known) == 1000


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.1.2.3", False),
        ("2001:db8::1", True),
        ("2001:db8::1%eth0", True),
        ("2001:db9::1", False),
        ("", False),
        ("localhost", False),
        ("10.1.2.3.4", False),
        ("0x0a010203", False),
    ],
)
def test_addresses_by_network(address: str, allowed: bool) -> None:
    assert access(None, None, ("10.0.0.0/8", "2001:db8::/32")).may_come_from(address) is allowed


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="network"):
        access(None, None, ("example.com",))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.9", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.9", "6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.9", "6.6.6.6, 203.0.113.7, 10.0.0.8", "203.0.113.7"),
        ("10.0.0.9", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.9", "[2001:db8::5]:4711", "2001:db8::5"),
        ("10.0.0.9", "2001:db8::5", "2001:db8::5"),
        ("10.0.0.9", "", "10.0.0.9"),
        ("10.0.0.9", "10.0.0.8, 10.0.0.7", "10.0.0.8"),
        ("10.0.0.9", "10.1.1.1, nonsense", "nonsense"),
        ("192.0.2.1", "10.0.0.8", "192.0.2.1"),
        ("", "10.0.0.8", ""),
    ],
)
def test_who_asks_behind_proxies(peer: str, forwarded: str, client: str) -> None:
    trusted = access(None, None, ("10.0.0.0/8",)).networks
    assert trusted is not None
    assert client_address(peer, forwarded, trusted) == client
