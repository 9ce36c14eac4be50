"""Models on Vertex: what the official SDKs send there for the same cases, and errors without the project."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import pytest
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from headgate.core.errors import ApiError, InvalidField
from headgate.core.ports import Outgoing
from headgate.dialects.anthropic_vertex import AnthropicOnVertex
from headgate.dialects.gemini import Gemini
from headgate.dialects.table import make_dialect
from tests.dialects import test_anthropic_cases, test_gemini_cases
from tests.dialects.calls import chat_call, embedding_call
from tests.dialects.test_gemini_gate import spelt_alike

Json = dict[str, Any]
LOCATION = "/v1/projects/our-project/locations/europe-west1"
CLAUDE = "claude-opus-4-6@20260204"
GEMINI = "gemini-3.5-flash"


class Seen(ThreadingHTTPServer):
    """Keeps the last request, and refuses all."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Refuse)
        self.path = ""
        self.body: Json = {}
        self.headers: dict[str, str] = {}


class Refuse(BaseHTTPRequestHandler):
    server: Seen

    def do_POST(self) -> None:
        self.server.path = self.path
        self.server.headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(400)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with Seen() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


# --- Anthropic's models ---------------------------------------------------------------------------


def claude(case: Path) -> Outgoing:
    drop = "options.json" in {path.name for path in case.iterdir()}
    call = chat_call((case / "request.json").read_bytes(), CLAUDE)
    return AnthropicOnVertex(drop_unsupported=drop).request(call)


OLD = [(b"anthropic-version", b"vertex-2023-10-16")]


@pytest.mark.parametrize("case", test_anthropic_cases.CASES, ids=lambda case: case.name)
def test_anthropics_sdk_sends_the_same(seen: Seen, case: Path) -> None:
    outgoing = claude(case)
    ours = msgspec.json.decode(outgoing.body, type=Json)
    given = {name: value for name, value in ours.items() if name != "anthropic_version"}
    known = {name: given.pop(name) for name in ("messages", "max_tokens")}
    stream = given.pop("stream", False)
    url = f"http://127.0.0.1:{seen.server_port}/v1"
    client = anthropic.AnthropicVertex(
        base_url=url,
        region="europe-west1",
        project_id="our-project",
        access_token="t",
        max_retries=0,
        timeout=60,
    )
    with client, suppress(anthropic.APIStatusError):
        client.messages.create(model=CLAUDE, stream=stream, extra_body=given, **known)
    assert seen.path == LOCATION + outgoing.path
    # The SDK says so of every stream, in the body too; the path tells the same.
    assert seen.body.pop("stream", False) == ours.pop("stream", False) == stream
    assert seen.body == ours
    assert outgoing.headers == ()


def test_sampling_exists_in_the_version_before() -> None:
    call = chat_call({"temperature": 0.5, "top_p": 0.25}, CLAUDE)
    body = msgspec.json.decode(AnthropicOnVertex(headers=OLD).request(call).body, type=Json)
    assert (body["temperature"], body["top_p"]) == (0.5, 0.25)
    assert body["anthropic_version"] == "vertex-2023-10-16"
    with pytest.raises(InvalidField):
        AnthropicOnVertex().request(call)


# --- Gemini ---------------------------------------------------------------------------------------


def gemini(case: Path) -> Outgoing:
    options = test_gemini_cases.options_of(case)
    dialect = Gemini(drop_unsupported=True, on_vertex=True)
    return dialect.request(chat_call((case / "request.json").read_bytes(), options.get("model", GEMINI)))


def vertex_client(seen: Seen) -> genai.Client:
    return genai.Client(
        vertexai=True,
        project="our-project",
        location="europe-west1",
        credentials=Credentials(token="t"),  # type: ignore[no-untyped-call]
        http_options=types.HttpOptions(base_url=f"http://127.0.0.1:{seen.server_port}", api_version="v1"),
    )


@pytest.mark.parametrize("case", test_gemini_cases.CASES, ids=lambda case: case.name)
def test_googles_sdk_sends_the_same(seen: Seen, case: Path) -> None:
    outgoing = gemini(case)
    body = msgspec.json.decode(outgoing.body, type=Json)
    config: Json = {**body.get("generationConfig", {})}
    for name in body.keys() - {"contents", "generationConfig"}:
        config[name] = body[name]
    settings = types.GenerateContentConfig.model_validate_json(json.dumps(config))
    settings.automatic_function_calling = types.AutomaticFunctionCallingConfig(disable=True)
    contents: Any = [types.Content.model_validate_json(json.dumps(turn)) for turn in body["contents"]]
    model = test_gemini_cases.options_of(case).get("model", GEMINI)
    with vertex_client(seen) as client, suppress(genai.errors.APIError):
        if case.name.endswith("_stream"):
            list(client.models.generate_content_stream(model=model, contents=contents, config=settings))
        else:
            client.models.generate_content(model=model, contents=contents, config=settings)
    assert seen.path == LOCATION + outgoing.path
    made = spelt_alike(seen.body)
    if "cachedContent" in made:
        # The SDK spells out what the API takes in short.
        made["cachedContent"] = made["cachedContent"].removeprefix(LOCATION.removeprefix("/v1/") + "/")
    assert made == spelt_alike(body)


@pytest.mark.parametrize(
    ("model", "verb"),
    [
        ("gemini-embedding-001", "embedContent"),
        ("text-embedding-005", "predict"),
        ("gemini-embedding-2", "embedContent"),
    ],
)
def test_googles_sdk_asks_for_the_same_vectors(seen: Seen, model: str, verb: str) -> None:
    call = embedding_call({"input": "Hello", "dimensions": 64}, model)
    outgoing = Gemini(on_vertex=True).request(call)
    assert outgoing.path.endswith(f":{verb}")
    with vertex_client(seen) as client, suppress(genai.errors.APIError):
        client.models.embed_content(
            model=model, contents="Hello", config=types.EmbedContentConfig(output_dimensionality=64)
        )
    assert seen.path == LOCATION + outgoing.path
    ours = msgspec.json.decode(outgoing.body, type=Json)
    theirs = spelt_alike(seen.body)
    if verb == "embedContent":
        # The SDK writes these under a newer name, and says whose turn it is.
        theirs["outputDimensionality"] = theirs.pop("embedContentConfig")["outputDimensionality"]
        theirs["content"].pop("role", None)
    assert theirs == ours


def test_vectors_of_several_texts() -> None:
    outgoing = Gemini(on_vertex=True).request(
        embedding_call(
            {"input": ["a", "b"], "taskType": "RETRIEVAL_QUERY", "title": "t"}, "text-embedding-005"
        )
    )
    assert msgspec.json.decode(outgoing.body) == {
        "instances": [
            {"content": "a", "task_type": "RETRIEVAL_QUERY", "title": "t"},
            {"content": "b", "task_type": "RETRIEVAL_QUERY", "title": "t"},
        ]
    }
    assert outgoing.translator is not None
    reply = {
        "predictions": [
            {"embeddings": {"values": [0.5], "statistics": {"token_count": 2, "truncated": False}}},
            {"embeddings": {"values": [0.25], "statistics": {"token_count": 3.0}}},
        ]
    }
    made = json.loads(outgoing.translator.whole(json.dumps(reply).encode()))
    assert made["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert [one["embedding"] for one in made["data"]] == [[0.5], [0.25]]
    with pytest.raises(InvalidField):
        Gemini(on_vertex=True).request(embedding_call({"input": ["a", "b"]}, "gemini-embedding-2"))


def test_what_is_not_stored_there_is_refused_or_dropped() -> None:
    with pytest.raises(InvalidField) as caught:
        Gemini(on_vertex=True).request(chat_call({"store": True}))
    assert caught.value.param == "store"
    assert Gemini(on_vertex=True, drop_unsupported=True).request(chat_call({"store": True})).dropped == (
        "store",
    )
    outgoing = Gemini(on_vertex=True).request(chat_call({"store": False}))
    assert outgoing.dropped == ()
    assert b"store" not in outgoing.body


# --- both -----------------------------------------------------------------------------------------


def test_the_identity_tells_where_a_model_is() -> None:
    assert isinstance(make_dialect("anthropic", identity="google"), AnthropicOnVertex)
    assert not isinstance(make_dialect("anthropic"), AnthropicOnVertex)
    for identity, path in (("google", "/publishers/google/models/m:"), (None, "/models/m:")):
        assert make_dialect("gemini", identity=identity).request(chat_call({})).path.startswith(path)


@pytest.mark.parametrize(
    "dialect", [AnthropicOnVertex(), Gemini(on_vertex=True)], ids=["anthropic", "gemini"]
)
def test_a_models_name_leads_nowhere_else(dialect: Any) -> None:
    for name, place in {
        "a b?c": "models/a%20b%3Fc:",
        "endpoints/17": "/endpoints/17:",
        "claude@1": "models/claude@1:",
    }.items():
        assert place in dialect.request(chat_call({}, name)).path
    for name in ("..", "a/../../b", "/x"):
        with pytest.raises(InvalidField):
            dialect.request(chat_call({}, name))


def google_error(status: int, word: str, message: str) -> bytes:
    return json.dumps({"error": {"code": status, "status": word, "message": message}}).encode()


@pytest.mark.parametrize(
    "dialect", [AnthropicOnVertex(), Gemini(on_vertex=True)], ids=["anthropic", "gemini"]
)
@pytest.mark.parametrize(
    ("status", "word", "message", "told", "code"),
    [
        (404, "NOT_FOUND", "Model `projects/our-project/x` was not found.", 404, "model_not_found"),
        (403, "PERMISSION_DENIED", "Permission denied on resource project our-project.", 502,
         "upstream_error"),
        (429, "RESOURCE_EXHAUSTED", "Quota exceeded for projects/our-project", 429, "rate_limit_exceeded"),
        (400, "INVALID_ARGUMENT", "Bad value in projects/our-project/x", 400, None),
        (503, "UNAVAILABLE", "down", 503, "upstream_unavailable"),
    ],
)  # fmt: skip
def test_an_error_names_no_project(
    dialect: Any, status: int, word: str, message: str, told: int, code: str | None
) -> None:
    error: ApiError = dialect.error(status, (), google_error(status, word, message))
    assert (error.status, error.code) == (told, code)
    assert "our-project" not in error.message


def test_an_error_of_anthropics_own_passes() -> None:
    body = {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"},
    }
    error = AnthropicOnVertex().error(400, (), json.dumps(body).encode())
    assert error.code == "context_length_exceeded"
