"""docs/endpoints.md and the endpoint table say the same, both ways."""

from __future__ import annotations

import re

import msgspec
import pytest

from headgate.core.endpoint import Endpoint
from headgate.endpoints import ENDPOINTS, MEBIBYTE
from tests.structure.pages import read, rows, section

PAGE = read("endpoints.md")


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_an_endpoint_is_documented_as_it_is(endpoint: Endpoint) -> None:
    words = section(PAGE, f"{endpoint.method} {endpoint.path}")
    assert words.strip().startswith(endpoint.summary.rstrip("."))
    assert f"Scope `{endpoint.scope}`" in words
    if endpoint.body_limit_bytes:
        assert f"up to {endpoint.body_limit_bytes // MEBIBYTE} MiB" in words
    fields = msgspec.structs.fields(endpoint.request) if endpoint.request else ()
    assert {field.encode_name for field in fields} == rows(words).keys()


def test_nothing_is_documented_that_is_not_served() -> None:
    headings = set(re.findall(r"^## ([A-Z]+ /\S+)$", PAGE, re.MULTILINE))
    assert headings == {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS}
