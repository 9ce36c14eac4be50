"""Through a real gate: embeddings and pictures of other formats, and identities that get their tokens."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.backends.givers import Giver, giving
from tests.backends.test_identity import TOKEN, service_account
from tests.dialects.recorded import Answer, Recorded, recorded
from tests.gates import RunningGate, open_gate

Json = dict[str, Any]
LARGE = b64encode(bytes(range(256)) * 12_000).decode()
"""A picture of three megabytes: its event is longer than others may be."""
HI: Any = [{"role": "user", "content": "Draw a cat."}]


def drawn(text: str, data: str) -> Json:
    parts = [{"text": text}, {"inlineData": {"mimeType": "image/png", "data": data}}]
    return {
        "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 1290},
        "responseId": "r",
    }


DRAWN = json.dumps(drawn("Here:", LARGE)).encode()


def answer(name: str, body: Json) -> Answer:
    json_type = {"content-type": "application/json"}
    if name.endswith("/embed"):
        vectors = {"float": [[0.25, -0.5]] * len(body["texts"])}
        found: Json = {"id": "e", "embeddings": vectors, "meta": {"billed_units": {"input_tokens": 4}}}
        return 200, json_type, json.dumps(found).encode()
    if name.endswith(":batchEmbedContents"):
        return (
            200,
            json_type,
            json.dumps({"embeddings": [{"values": [0.5]}] * len(body["requests"])}).encode(),
        )
    if ":streamGenerateContent" in name:
        return (
            200,
            {"content-type": "text/event-stream"},
            b"data: %b\r\n\r\n" % DRAWN,
        )
    if name.endswith(":generateContent"):
        return 200, json_type, DRAWN
    message = {"role": "assistant", "content": "Hi"}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    reply = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
    return 200, json_type, json.dumps(reply).encode()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recorded, RunningGate, Giver]]:
    folder: Path = tmp_path_factory.mktemp("translated")
    with (
        recorded(lambda path, _: path, answer) as server,
        giving((200, {**TOKEN, "access_token": "a.token"})) as giver,
    ):
        file = service_account(folder, giver.url, rsa.generate_private_key(65_537, 2048))
        base = f"http://127.0.0.1:{server.server_port}"
        toml = f"""
[[upstream]]
name = "cohere"
dialect = "cohere"
base_url = "{base}/v2"
api_key = {{ env = "THERE" }}
models = ["embed-v4.0"]

[[upstream]]
name = "gemini"
dialect = "gemini"
base_url = "{base}/v1beta"
api_key = {{ env = "THERE" }}
models = ["gemini-embedding-001", "gemini-3.1-flash-image"]

[[upstream]]
name = "vertex"
dialect = "gemini"
base_url = "{base}/v1/projects/p/locations/l"
identity = {{ kind = "google", file = "{file}" }}
models = [{{ name = "on-vertex", upstream_name = "gemini-3.5-flash" }}]

[[upstream]]
name = "azure"
dialect = "azure"
base_url = "{base}"
models = ["gpt-5"]

[upstream.identity]
kind = "entra"
tenant_id = "t"
client_id = "c"
client_secret = {{ env = "SECRET" }}
authority = "{giver.url}"
"""
        environment = {"THERE": "the-key", "SECRET": "hush"}
        with open_gate(folder / "gate", toml, environment=environment) as gate:
            yield server, gate, giver
            assert "hush" not in gate.log + gate.printed
            assert "a.token" not in gate.log + gate.printed


@pytest.fixture
def client(house: tuple[Recorded, RunningGate, Giver]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{house[1].url}/v1", api_key=house[1].key, max_retries=0) as made:
        yield made


def test_vectors(house: tuple[Recorded, RunningGate, Giver], client: openai.OpenAI) -> None:
    # The official client asks for base64 unasked, and unpacks it.
    cohere = client.embeddings.create(model="embed-v4.0", input=["a", "b"])
    assert [one.embedding for one in cohere.data] == [[0.25, -0.5], [0.25, -0.5]]
    assert cohere.usage.prompt_tokens == 4
    assert house[0].seen["/v2/embed"][2]["texts"] == ["a", "b"]
    gemini = client.embeddings.create(model="gemini-embedding-001", input=["a", "b", "c"], dimensions=1)
    assert [one.embedding for one in gemini.data] == [[0.5]] * 3
    assert gemini.usage.prompt_tokens == 3


def test_a_large_picture_comes_whole_and_streamed(client: openai.OpenAI) -> None:
    whole: Any = client.chat.completions.create(model="gemini-3.1-flash-image", messages=HI)
    message = whole.choices[0].message
    [picture] = message.images
    assert message.content == f"Here:\n\n![image]({picture['image_url']['url']})"
    chunks: list[Any] = list(
        client.chat.completions.create(model="gemini-3.1-flash-image", messages=HI, stream=True)
    )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    told = [
        image for chunk in chunks if chunk.choices for image in getattr(chunk.choices[0].delta, "images", [])
    ]
    assert len(told) == 1
    assert said == f"Here:\n\n![image]({told[0]['image_url']['url']})"


def test_tokens_are_fetched_once_and_sent_with_every_request(
    house: tuple[Recorded, RunningGate, Giver], client: openai.OpenAI
) -> None:
    server, _, giver = house
    for _ in range(3):
        client.chat.completions.create(model="on-vertex", messages=HI)
        client.chat.completions.create(model="gpt-5", messages=HI)
    path = "/v1/projects/p/locations/l/publishers/google/models/gemini-3.5-flash:generateContent"
    for sent in (server.seen[path], server.seen["/openai/v1/chat/completions"]):
        assert sent[1]["authorization"] == "Bearer a.token"
        assert "api-key" not in sent[1]
    assert sorted(path for path, _, _ in giver.seen) == ["/t/oauth2/v2.0/token", "/token"]
