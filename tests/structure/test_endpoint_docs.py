"""docs/endpoints.md and the endpoint table say the same, both ways."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from headgate.core.endpoint import Endpoint
from headgate.endpoints import ENDPOINTS, MEBIBYTE

PAGE = (Path(__file__).parents[2] / "docs/endpoints.md").read_text("utf-8")


def section(endpoint: Endpoint) -> str:
    heading = re.escape(f"## {endpoint.method} {endpoint.path}")
    part = re.search(rf"^{heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert part, f"docs/endpoints.md has no section {endpoint.method} {endpoint.path}"
    return part[1]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_an_endpoint_is_documented_as_it_is(endpoint: Endpoint) -> None:
    words = section(endpoint)
    assert words.strip().startswith(endpoint.summary.rstrip("."))
    assert f"Scope `{endpoint.scope}`" in words
    if endpoint.body_limit_bytes:
        assert f"up to {endpoint.body_limit_bytes // MEBIBYTE} MiB" in words
    fields = msgspec.structs.fields(endpoint.request) if endpoint.request else ()
    assert {field.encode_name for field in fields} == set(re.findall(r"^\| `(\w+)` \|", words, re.MULTILINE))


def test_nothing_is_documented_that_is_not_served() -> None:
    headings = set(re.findall(r"^## ([A-Z]+ /\S+)$", PAGE, re.MULTILINE))
    assert headings == {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS}
