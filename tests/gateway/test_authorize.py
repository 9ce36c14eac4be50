"""What a key may be used for: by endpoint, address and model, and by nothing else that a client writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.core.access import access
from headgate.core.ports import Principal
from headgate.core.settings import Server as Settings
from headgate.store.keys import KeyTable, hash_key
from tests.backends.scripted import Line
from tests.conftest import run
from tests.gateway.house import House, answer, house, whole

SECRET = "sk-limited-0123456789abcdef"


async def never(line: Line) -> None:
    raise AssertionError("the upstream was asked")


async def once(line: Line) -> None:
    await line.request()
    await line.send(whole(answer("hello", 3, 1)))


def limit(gate: House, **lists: tuple[str, ...]) -> None:
    """Lets SECRET in, with these restrictions."""
    table = gate.gate.keys
    assert isinstance(table, KeyTable)
    found = access(lists.get("scopes"), lists.get("models"), lists.get("networks"))
    table.put(hash_key(SECRET), Principal("key_limited", "limited", access=found))


@pytest.mark.parametrize(
    "allowed",
    [
        {"scopes": ("chat.completions", "models")},
        {"models": ("*",)},
        {"models": ("other", "m")},
        {"networks": ("127.0.0.0/8", "::1/128")},
    ],
)
def test_what_is_allowed_goes_through(tmp_path: Path, allowed: dict[str, tuple[str, ...]]) -> None:
    async def main() -> None:
        async with house(tmp_path, once) as gate:
            limit(gate, **allowed)
            client = await gate.client()
            await client.ask(key=SECRET)
            assert (await client.answer()).status == 200

    run(main())


@pytest.mark.parametrize(
    ("allowed", "kind", "code"),
    [
        ({"scopes": ("models",)}, "permission_error", None),
        ({"scopes": ()}, "permission_error", None),
        ({"scopes": ("chat",)}, "permission_error", None),
        ({"networks": ("10.0.0.0/8",)}, "permission_error", None),
        ({"networks": ()}, "permission_error", None),
        ({"models": ("M", "m?", "mm*")}, "invalid_request_error", "model_not_found"),
        ({"models": ()}, "invalid_request_error", "model_not_found"),
    ],
)
def test_what_is_not_allowed_reaches_nobody(
    tmp_path: Path, allowed: dict[str, tuple[str, ...]], kind: str, code: str | None
) -> None:
    async def main() -> None:
        async with house(tmp_path, never) as gate:
            limit(gate, **allowed)
            client = await gate.client()
            forged = [
                ("x-forwarded-for", "10.0.0.1"),
                ("x-real-ip", "10.0.0.1"),
                ("forwarded", "for=10.0.0.1"),
            ]
            for stream in (False, True):
                await client.ask(stream, key=SECRET, headers=forged)
                found = await client.answer()
                assert (found.status, found.error["type"], found.error["code"]) == (403, kind, code)
                assert found.error["param"] is None

    run(main())


def test_only_models_that_may_be_used_are_shown(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, never) as gate:
            client = await gate.client()
            for models, shown in ((("m",), ["m"]), (("none",), []), (("alias*",), ["alias/of m"])):
                limit(gate, models=models)
                await client.ask(method="GET", path="/v1/models", key=SECRET)
                data = json.loads((await client.answer()).body)["data"]
                assert [model["id"] for model in data] == shown
            await client.ask(method="GET", path="/v1/models/m", key=SECRET)
            assert (await client.answer()).status == 403
            limit(gate, scopes=("chat.completions",))
            for path in ("/v1/models", "/v1/models/m"):
                await client.ask(method="GET", path=path, key=SECRET)
                assert (await client.answer()).status == 403

    run(main())


def test_a_trusted_proxy_s_word_is_taken(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, once) as gate:
            limit(gate, networks=("203.0.113.0/24",))
            gate.server.configure(Settings(trusted_proxies=("127.0.0.0/8",)))
            client = await gate.client()
            for forwarded, status in (("203.0.113.5", 200), ("203.0.113.5, 198.51.100.1", 403), ("", 403)):
                await client.ask(key=SECRET, headers=[("x-forwarded-for", forwarded)] if forwarded else [])
                assert (await client.answer()).status == status, forwarded

    run(main())
