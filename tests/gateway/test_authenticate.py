"""Who gets in, and what the others are told: the contract's table, at every route."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends.scripted import Line
from tests.conftest import run
from tests.gateway.house import KEY, answer, house, whole

CHAT = ("POST", "/v1/chat/completions")
ROUTES = [CHAT, ("GET", "/v1/models"), ("GET", "/v1/models/m"), ("GET", "/v1/models/alias%2Fof%20m")]

# The Authorization header, and the code that it is answered with.
REFUSED: list[tuple[str | None, str | None]] = [
    (None, None),
    ("", None),
    ("Bearer", "invalid_api_key"),
    (KEY, "invalid_api_key"),
    (f"Basic {KEY}", "invalid_api_key"),
    (f"Token {KEY}", "invalid_api_key"),
    (f"Bearer{KEY}", "invalid_api_key"),
    (f"Bearer {KEY}x", "invalid_api_key"),
    (f"Bearer {KEY[:-1]}", "invalid_api_key"),
    (f"Bearer {KEY.upper()}", "invalid_api_key"),
    (f"Bearer {KEY} {KEY}", "invalid_api_key"),
    (f"Bearer {KEY}, Bearer {KEY}", "invalid_api_key"),
    (f"Bearer Bearer {KEY}", "invalid_api_key"),
    ("Bearer ' OR 1=1 --", "invalid_api_key"),
    ("Bearer " + "x" * 8000, "invalid_api_key"),
]


async def never(line: Line) -> None:
    raise AssertionError("the upstream was asked")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nobody_gets_in_without_the_key(tmp_path: Path, method: str, path: str) -> None:
    async def main() -> None:
        async with house(tmp_path, never) as gate:
            client = await gate.client()
            for header, code in REFUSED:
                headers = [("authorization", header)] if header is not None else []
                await client.ask(method=method, path=path, key=None, headers=headers)
                found = await client.answer()
                assert found.status == 401, header
                error = found.error
                assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, None)
                assert found.headers["x-request-id"].startswith("req_")
                assert KEY not in error["message"]
                assert "x" * 100 not in error["message"], "what was sent is not repeated"
            assert gate.records() == []

    run(main())


@pytest.mark.parametrize(
    "header", ["x-api-key", "api-key", "cookie", "proxy-authorization", "x-goog-api-key"]
)
def test_no_other_header_opens(tmp_path: Path, header: str) -> None:
    async def main() -> None:
        async with house(tmp_path, never) as gate:
            for value in (KEY, f"Bearer {KEY}"):
                found = await gate.call(key=None, headers=[(header, value)])
                assert found.status == 401
                found = await gate.call(key=None, path=f"/v1/chat/completions?api_key={KEY}&key={KEY}")
                assert found.status == 401

    run(main())


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_the_scheme_is_read_as_the_standard_says(tmp_path: Path, scheme: str) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(whole(answer()))
        await line.gone()

    async def main() -> None:
        async with house(tmp_path, script) as gate:
            found = await gate.call(key=None, headers=[("authorization", f"{scheme} {KEY}")])
            assert found.status == 200

    run(main())


def test_the_key_is_judged_before_the_body(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, never) as gate:
            found = await gate.call(key="wrong", body=b"{not json")
            assert (found.status, found.error["code"]) == (401, "invalid_api_key")

    run(main())
