"""Rows of other formats: which dialects pass them, where to, and that only the model is changed in them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headgate.core.body import open_body
from headgate.core.endpoint import Endpoint
from headgate.core.errors import NotFound
from headgate.core.ports import Call, Dialect
from headgate.core.quirks import Quirks
from headgate.dialects.anthropic import VERSION, Anthropic
from headgate.dialects.table import make_dialect
from headgate.endpoints import MESSAGES, MODERATIONS, RERANK, RESPONSES

Json = dict[str, Any]
HI = [{"role": "developer", "content": "hi", "x": 1.5}]
ROWS: list[tuple[Endpoint, Json]] = [
    (RESPONSES, {"model": "m", "input": HI, "stream": True, "max_tokens": 3, "seed": 1}),
    (MESSAGES, {"model": "m", "messages": HI, "max_tokens": 5, "stream": True, "system": "s"}),
    (MODERATIONS, {"model": "m", "input": ["a", "b"]}),
    (RERANK, {"model": "m", "query": "q", "documents": [{"text": "a"}], "top_n": 1}),
]
QUIRKS = Quirks(max_tokens_field="max_completion_tokens", seed_field="random_seed", developer_role="system")
DIALECTS: dict[str, tuple[Dialect, dict[str, str]]] = {
    "openai": (make_dialect("openai"), {row.name: row.path.removeprefix("/v1") for row, _ in ROWS}),
    "quirks": (
        make_dialect("openai", quirks=QUIRKS),
        {row.name: row.path.removeprefix("/v1") for row, _ in ROWS},
    ),
    "azure": (make_dialect("azure"), {row.name: f"/openai{row.path}" for row, _ in ROWS}),
    "azure, dated": (make_dialect("azure", api_version="2024-10-21"), {}),
    "anthropic": (make_dialect("anthropic"), {"messages": "/messages"}),
    "vertex": (
        make_dialect("anthropic", identity="google"),
        {"messages": "/publishers/anthropic/models/there:streamRawPredict"},
    ),
    "cohere": (make_dialect("cohere"), {"rerank": "/rerank"}),
    "gemini": (make_dialect("gemini"), {}),
    "bedrock": (make_dialect("bedrock"), {}),
    "llamacpp": (make_dialect("llamacpp"), {}),
}


def call_of(row: Endpoint, body: Json) -> Call:
    assert row.request is not None
    # A number as nobody would write it anew.
    request, fields = open_body(msgspec.json.encode(body).replace(b'"x":1.5', b'"x":1.50'), row.request)
    stream = getattr(request, "stream", None) is True
    return Call(row, request, fields, stream, False, "there", model="asked-for")


@pytest.mark.parametrize(("row", "body"), ROWS, ids=lambda value: getattr(value, "name", ""))
@pytest.mark.parametrize("name", DIALECTS)
def test_who_has_it_gets_it_as_it_came(name: str, row: Endpoint, body: Json) -> None:
    dialect, paths = DIALECTS[name]
    call = call_of(row, body)
    if row.name not in paths:
        with pytest.raises(NotFound, match=f"'asked-for'.*{row.path}"):
            dialect.request(call)
        return
    outgoing = dialect.request(call)
    assert outgoing.path == paths[row.name]
    assert (outgoing.translator, outgoing.framing, outgoing.dropped) == (None, None, ())
    sent = msgspec.json.decode(outgoing.body, type=Json)
    if name == "vertex":
        assert sent.pop("anthropic_version") == VERSION.decode()
        sent["model"] = "there"
    assert sent == {**body, "model": "there"}
    assert b"1.50" in outgoing.body or row in (MODERATIONS, RERANK), "a value was written anew"


def test_the_clients_version_goes_along_unless_the_operator_has_one() -> None:
    call = call_of(*ROWS[1])
    assert dict(Anthropic().request(call).headers) == {b"anthropic-version": VERSION}
    call.headers = [(b"anthropic-version", b"2023-06-01"), (b"anthropic-beta", b"a,b")]
    assert dict(Anthropic().request(call).headers) == dict(call.headers)
    configured = Anthropic(headers=[(b"anthropic-version", b"2024-01-01")])
    assert dict(configured.request(call).headers) == {b"anthropic-beta": b"a,b"}
