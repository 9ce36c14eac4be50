"""The dialect of our own engines: what one does not serve is refused by the gate."""

from __future__ import annotations

import json

import pytest

from headgate.core.body import open_body
from headgate.core.embedding import EmbeddingRequest
from headgate.core.errors import NotFound
from headgate.core.ports import Call
from headgate.dialects.embedded import Embedded
from headgate.endpoints import EMBEDDINGS


def call() -> Call:
    request, fields = open_body(b'{"model":"alias","input":"a","odd":1}', EmbeddingRequest)
    return Call(EMBEDDINGS, request, fields, False, False, "starter-embed")


def test_bytes_pass_with_the_engines_name() -> None:
    sent = Embedded(["embeddings"]).request(call())
    assert sent.path == "/embeddings"
    assert json.loads(sent.body) == {"model": "starter-embed", "input": "a", "odd": 1}


def test_another_endpoint_is_refused() -> None:
    with pytest.raises(NotFound) as refused:
        Embedded(["speech"]).request(call())
    assert refused.value.param == "model"
    assert "starter-embed" in refused.value.message
    assert "/v1/embeddings" in refused.value.message
