"""Embeddings through llama.cpp: what it is asked, what is made of its answer, and both against a real one."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headgate.core.body import open_body
from headgate.core.chat import ChatRequest
from headgate.core.embedding import EmbeddingRequest
from headgate.core.errors import ApiError, InvalidField, NotFound, UpstreamFailed
from headgate.core.ports import Call, Outgoing
from headgate.dialects.llamacpp import LlamaCpp
from headgate.endpoints import CHAT_COMPLETIONS, EMBEDDINGS
from headgate.engines.gguf import inspect_model
from tests.engines.running import RunningEngine, running_engine

STARTER = Path(__file__).parents[2] / "packages/headgate-starter/src/headgate_starter/starter-chat.gguf"
WIDTH = inspect_model(STARTER).width


@pytest.fixture(scope="module")
def engine() -> Iterator[RunningEngine]:
    with running_engine(STARTER, "--embeddings", "--context=256", "--alias=engine") as running:
        yield running


def written(length: int | None = WIDTH, **body: Any) -> Outgoing:
    request, fields = open_body(json.dumps({"model": "m", **body}).encode(), EmbeddingRequest)
    return LlamaCpp(vector_length=length).request(Call(EMBEDDINGS, request, fields, False, False, "engine"))


def asked(engine: RunningEngine, **body: Any) -> dict[str, Any]:
    outgoing = written(**body)
    status, data = engine.ask(f"/v1{outgoing.path}", outgoing.body)
    assert status == 200, data
    assert outgoing.translator is not None
    return dict(json.loads(outgoing.translator.whole(data)))


def test_vectors_come_as_they_were_wanted(engine: RunningEngine) -> None:
    reply = asked(engine, input=["12345", "67890"])
    assert (reply["object"], reply["model"]) == ("list", "engine")
    assert reply["usage"] == {"prompt_tokens": 10, "total_tokens": 10}
    assert [(one["object"], one["index"], len(one["embedding"])) for one in reply["data"]] == [
        ("embedding", 0, WIDTH), ("embedding", 1, WIDTH),
    ]  # fmt: skip
    packed = asked(engine, input=["12345", "67890"], encoding_format="base64")
    for plain, one in zip(reply["data"], packed["data"], strict=True):
        found = np.frombuffer(base64.b64decode(one["embedding"]), "<f4")
        np.testing.assert_allclose(found, plain["embedding"], atol=1e-5)


def test_fewer_dimensions_have_length_one_again(engine: RunningEngine) -> None:
    whole = asked(engine, input="Hello")["data"][0]["embedding"]
    cut = asked(engine, input="Hello", dimensions=7)["data"][0]["embedding"]
    np.testing.assert_allclose(cut, np.array(whole[:7]) / np.linalg.norm(whole[:7]), atol=1e-5)
    packed = asked(engine, input="Hello", dimensions=7, encoding_format="base64")["data"][0]["embedding"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(packed), "<f4"), cut, atol=1e-5)


def test_tokens_are_taken(engine: RunningEngine) -> None:
    # A digit is a token, and its number is its byte.
    text = asked(engine, input="12345")["data"][0]["embedding"]
    tokens = asked(engine, input=[list(b"12345")])["data"][0]["embedding"]
    np.testing.assert_allclose(tokens, text, atol=1e-4)


def refused(engine: RunningEngine, **body: Any) -> ApiError:
    outgoing = written(**body)
    status, data = engine.ask(f"/v1{outgoing.path}", outgoing.body)
    return LlamaCpp().error(status, (), data)


def test_what_it_cannot_read_is_named(engine: RunningEngine) -> None:
    long = refused(engine, input="7" * 1000)
    assert (long.status, long.param, long.code) == (400, "input", "context_length_exceeded")
    assert "1000 tokens" in long.message
    assert refused(engine, input=[99_999]).status == 400


@pytest.mark.parametrize(
    ("body", "param"),
    [({"dimensions": WIDTH + 1}, "dimensions"), ({"encoding_format": "hex"}, "encoding_format")],
)
def test_what_nobody_can_is_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidField) as found:
        written(input="a", **body)
    assert found.value.param == param


def test_a_model_does_the_one_or_the_other() -> None:
    with pytest.raises(NotFound):
        written(None, input="a")
    request, fields = open_body(b'{"model":"m","messages":[{"role":"user","content":"a"}]}', ChatRequest)
    with pytest.raises(NotFound):
        LlamaCpp(vector_length=3).request(Call(CHAT_COMPLETIONS, request, fields, False, False, "engine"))


@pytest.mark.parametrize(
    "body", [b"{}", b"[", b'{"data":[{"embedding":"?"}]}', b'{"data":[{"embedding":"AAA="}]}']
)
def test_what_holds_no_vectors_is_no_reply(body: bytes) -> None:
    translator = written(input="a").translator
    assert translator is not None
    with pytest.raises(UpstreamFailed):
        translator.whole(body)
