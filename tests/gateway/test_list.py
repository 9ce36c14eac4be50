"""The list of models: OpenAI's shape, every name that may be asked for, ids with slashes."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from openai.types import Model

from tests.backends.scripted import Line
from tests.conftest import run
from tests.gateway.house import house


async def never(line: Line) -> None:
    raise AssertionError("the upstream was asked")


def test_all_models_and_their_aliases_are_listed(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path, never) as gate:
            found = await gate.call(method="GET", path="/v1/models")
            assert found.status == 200
            assert found.headers["content-type"] == "application/json"
            listed = json.loads(found.body)
            assert listed["object"] == "list"
            models = [Model.model_validate(one, strict=True) for one in listed["data"]]
            assert [one.id for one in models] == ["m", "alias/of m"]
            assert {(one.object, one.created, one.owned_by) for one in models} == {
                ("model", 1_700_000_000, "far")
            }
            assert gate.records() == []

    run(main())


@pytest.mark.parametrize("path", ["m", "alias/of%20m", quote("alias/of m", safe=""), "%6D"])
def test_one_model_by_its_id(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        async with house(tmp_path, never) as gate:
            found = await gate.call(method="GET", path=f"/v1/models/{path}")
            assert found.status == 200
            assert json.loads(found.body)["id"] in ("m", "alias/of m")

    run(main())


@pytest.mark.parametrize("path", ["n", "m/", "m%00", "%FF", "..%2Fm", "alias", "m-upstream", "x" * 3000])
def test_an_unknown_id_is_not_found(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        async with house(tmp_path, never) as gate:
            found = await gate.call(method="GET", path=f"/v1/models/{path}")
            assert found.status == 404
            error = found.error
            assert (error["type"], error["code"], error["param"]) == (
                "invalid_request_error",
                "model_not_found",
                None,
            )
            assert len(error["message"]) < 300

    run(main())
