"""Which meters follow from what an account may use."""

from __future__ import annotations

import msgspec
import pytest

from headgate.core.limit import (
    NO_LIMITS,
    Account,
    Budget,
    Fund,
    Limits,
    Places,
    Rate,
    Size,
    fits,
    meters,
)
from headgate.core.money import ONE, Ratio


def ids(*accounts: Account, model: str = "m", of_model: Limits = NO_LIMITS, user: str = "") -> list[str]:
    return [meter.id for meter in meters(accounts, model, of_model, user)]


def test_every_limit_is_a_meter() -> None:
    limits = Limits(
        requests_per_minute=1,
        requests_per_day=2,
        tokens_per_minute=3,
        tokens_per_day=4,
        concurrent_requests=5,
        tokens_per_request=6,
    )
    found = meters((Account(id="key:k", limits=limits),), "m", NO_LIMITS, "")
    assert found == (
        Rate("key:k/rpm", "requests", 1, 60_000),
        Rate("key:k/rpd", "requests", 2, 86_400_000),
        Rate("key:k/tpm", "tokens", 3, 60_000),
        Rate("key:k/tpd", "tokens", 4, 86_400_000),
        Places("key:k/places", 5),
        Size("key:k/size", 6),
    )


def test_models_and_end_users_are_counted_for_themselves() -> None:
    one = Limits(requests_per_minute=1)
    account = Account(id="team:t", model_limits={"gpt-*": one, "other": one}, user_limits=one)
    assert ids(account, model="gpt-4o") == ["team:t/model:gpt-*/rpm"]
    assert ids(account, model="m", user="ann") == ["team:t/user:ann/rpm"]
    assert ids(account, model="m") == []
    assert ids(of_model=one) == ["model:m/rpm"]


def test_a_long_name_of_an_end_user_is_kept_as_its_hash() -> None:
    account = Account(id="key:k", user_limits=Limits(requests_per_minute=1))
    first, second = ids(account, user="a" * 10_000), ids(account, user="a" * 10_001)
    assert first != second
    assert len(first[0]) < 100


def test_budgets_and_balances_are_funds() -> None:
    budgets = (
        Budget(amount_nanodollars=1),
        Budget(amount_nanodollars=2, hard=False),
        Budget(amount_nanodollars=3, period="once"),
    )
    found = meters((Account(id="team:t", budgets=budgets, prepaid=True),), "m", NO_LIMITS, "")
    assert found == (
        Fund("team:t/month", "team:t", budgets[0]),
        Fund("team:t/month/soft", "team:t", budgets[1]),
        Fund("team:t/once", "team:t", budgets[2]),
        Fund("team:t/balance", "team:t", None),
    )


@pytest.mark.parametrize(
    ("pattern", "model", "expected"),
    [
        ("m", "m", True),
        ("m", "M", False),
        ("m*", "m/x", True),
        ("?", "m", True),
        ("?", "mm", False),
        ("[a]*", "[a]b", True),
        ("[a]*", "ab", False),
        ("*", "", True),
    ],
)
def test_patterns(pattern: str, model: str, expected: bool) -> None:
    assert fits(pattern, model) is expected


def test_the_first_multiplier_that_fits_counts() -> None:
    account = Account(id="team:t", multipliers={"gpt-4o": Ratio(2), "gpt-*": Ratio(3)})
    assert [account.multiplier(name) for name in ("gpt-4o", "gpt-4", "m")] == [Ratio(2), Ratio(3), ONE]


@pytest.mark.parametrize("value", [-1, 10**12 + 1, 1.5])
def test_a_limit_is_a_number_that_counters_can_keep(value: float) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"tokens_per_day": value}, Limits)
