"""Azure's dialect through a real gate with the official SDK; keys, headers, queries of an upstream's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

from headgate.core.errors import SettingsError
from headgate.core.quirks import Quirks
from headgate.core.settings_text import parse
from headgate.dialects.azure_stream import AnnotatedStream
from headgate.fleet import Fleet
from tests.conftest import run
from tests.gates import RunningGate, open_gate
from tests.structure.pages import AnyPlace
from tests.test_fleet import far, settings

Json = dict[str, Any]
FOLDER = Path(__file__).parent / "azure"
KEY = "0123456789abcdef0123456789abcdef"


class Recorded(ThreadingHTTPServer):
    """Answers by the deployment's name, which is a case's; keeps what was asked last."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.path = ""
        self.headers: dict[str, str] = {}
        self.body: Json = {}


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorded

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.path, self.server.body = self.path, body
        self.server.headers = {key.lower(): value for key, value in self.headers.items()}
        case = FOLDER / body["model"]
        if case.name.endswith("_stream"):
            self.answer(200, "text/event-stream", (case / "reply.sse").read_bytes(), {})
            return
        options = json.loads((case / "options.json").read_text()) if case.name.endswith("_error") else {}
        data = (case / "reply.json").read_bytes()
        self.answer(options.get("status", 200), "application/json", data, options.get("headers", {}))

    def answer(self, status: int, kind: str, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        # In two pieces, cut inside an event.
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        self.wfile.write(body[len(body) // 2 :])

    def log_message(self, *_: object) -> None:
        pass


MODELS = ("plain_v1_whole", "plain_stream", "asynchronous_filter_stream", "filtered_prompt_error",
          "tokens_limited_error", "no_deployment_error", "wrong_key_error")  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recorded, RunningGate]]:
    """The server, and a gate before it with an upstream of every kind."""
    with Recorded() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        place = f"http://127.0.0.1:{server.server_port}"
        extra = 'headers = { x-team = "blue", X-Key = { env = "THERE" } }\n'
        extra += 'query = { tenant = "a b", sig = "1&2" }'
        whole = '[{{ name = "{}", upstream_name = "plain_v1_whole" }}]'
        toml = f"""
[[upstream]]
name = "v1"
dialect = "azure"
base_url = "{place}"
api_key = {{ env = "THERE" }}
models = {json.dumps(MODELS)}

[[upstream]]
name = "dated"
dialect = "azure"
api_version = "2024-10-21"
bearer = true
base_url = "{place}/proxy"
api_key = {{ env = "THERE" }}
models = {whole.format("dated")}
{extra}

[[upstream]]
name = "named"
provider = "mistral"
base_url = "{place}/v1"
models = {whole.format("named")}
{extra}
"""
        folder = tmp_path_factory.mktemp("azure")
        try:
            with open_gate(folder, toml, environment={"THERE": KEY, "MISTRAL_API_KEY": KEY}) as gate:
                yield server, gate
                assert KEY not in gate.log + gate.printed
        finally:
            server.shutdown()
            thread.join()


def client(gate: RunningGate) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gate.url}/v1", api_key=gate.key, max_retries=0)


HI: Any = [{"role": "user", "content": "Say hello."}]


def test_the_v1_api_gets_the_key_in_its_own_header(house: tuple[Recorded, RunningGate]) -> None:
    server, gate = house
    reply = client(gate).chat.completions.create(model="plain_v1_whole", messages=HI)
    assert reply.choices[0].message.content == "Hello! How can I help?"
    assert reply.to_dict()["prompt_filter_results"]
    assert server.path == "/openai/v1/chat/completions"
    assert server.headers["api-key"] == KEY
    assert "authorization" not in server.headers


def test_a_dated_version_goes_with_a_token_and_with_headers_and_query_of_ones_own(
    house: tuple[Recorded, RunningGate],
) -> None:
    server, gate = house
    client(gate).chat.completions.create(model="dated", messages=HI)
    assert server.path == (
        "/proxy/openai/deployments/plain_v1_whole/chat/completions"
        "?api-version=2024-10-21&tenant=a%20b&sig=1%262"
    )
    assert server.headers["authorization"] == f"Bearer {KEY}"
    assert "api-key" not in server.headers
    assert (server.headers["x-team"], server.headers["x-key"]) == ("blue", KEY)


def test_a_service_by_name_gets_its_quirks_and_headers_and_query_of_ones_own(
    house: tuple[Recorded, RunningGate],
) -> None:
    server, gate = house
    messages: Any = [{"role": "developer", "content": "Be brief."}, *HI]
    client(gate).chat.completions.create(model="named", messages=messages, seed=7, max_completion_tokens=9)
    assert server.path == "/v1/chat/completions?tenant=a%20b&sig=1%262"
    assert server.headers["authorization"] == f"Bearer {KEY}"
    assert (server.headers["x-team"], server.headers["x-key"]) == ("blue", KEY)
    assert server.body == {
        "model": "plain_v1_whole",
        "messages": [{"role": "system", "content": "Be brief."}, *HI],
        "random_seed": 7,
        "max_tokens": 9,
    }


@pytest.mark.parametrize(
    ("model", "words"), [("plain_stream", "Hello!"), ("asynchronous_filter_stream", "Color is light")]
)
@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_reads_like_any_other(
    house: tuple[Recorded, RunningGate], model: str, words: str, usage: bool
) -> None:
    server, gate = house
    options: Any = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = list(client(gate).chat.completions.create(model=model, messages=HI, stream=True, **options))
    assert server.body["stream_options"] == {"include_usage": True}
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [9] * usage
    # What clients do without a second look.
    said = [chunk.choices[0].delta.content for chunk in chunks if chunk.usage is None]
    assert "".join(word or "" for word in said) == words
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"


@pytest.mark.parametrize(
    ("model", "kind", "code"),
    [
        ("filtered_prompt_error", openai.BadRequestError, "content_filter"),
        ("tokens_limited_error", openai.RateLimitError, "rate_limit_exceeded"),
        ("wrong_key_error", openai.InternalServerError, "upstream_error"),
    ],
)
def test_an_error_is_the_sdks_own(
    house: tuple[Recorded, RunningGate], model: str, kind: type[openai.APIStatusError], code: str
) -> None:
    _, gate = house
    with pytest.raises(kind) as caught:
        client(gate).chat.completions.create(model=model, messages=HI)
    assert caught.value.code == code
    if model == "tokens_limited_error":
        assert caught.value.response.headers["retry-after-ms"] == "6000"


# --- settings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"api_version": "2024-10-21"}, '`api_version` means nothing to the dialect "openai"'),
        (
            {"dialect": "anthropic", "quirks": Quirks(no_stream_options=True)},
            '`quirks` mean nothing to the dialect "anthropic"',
        ),
    ],
)
def test_a_setting_that_means_nothing_is_refused(wrong: Json, complaint: str) -> None:
    async def main() -> None:
        fleet = Fleet()
        with pytest.raises(SettingsError) as caught:
            fleet.arrange(settings(far(**wrong)))
        assert str(caught.value) == f'upstream "far": {complaint}'

    run(main())


@pytest.mark.parametrize("version", ["", "2024&x=1", "2024 10", "2024/10", "2024\\n"])
def test_a_version_cannot_say_more_than_a_version(version: str) -> None:
    text = f'[[upstream]]\nname = "u"\nbase_url = "http://h"\nmodels = ["m"]\napi_version = "{version}"\n'
    with pytest.raises(SettingsError, match=r"gate.toml:5: upstream\[0\].api_version: expected a version"):
        parse(text, "gate.toml", outside=AnyPlace())


# --- streams that no document shows ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        b": comment\n\n",
        b"data: [DONE]\n\n",
        b'data: {"id":"",\n\n',
        b"data: [1]\n\n",
        b'data: {"id":"","choices":5}\n\n',
        b'data: {"id":"","choices":[5]}\n\n',
        b'data: {"id":"","error":{"message":"x"}}\n\n',
        b'data: "\xff"\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
def test_what_is_no_annotation_passes(event: bytes) -> None:
    assert AnnotatedStream().event(event) == event


def test_annotations_alone_make_no_stream() -> None:
    stream = AnnotatedStream()
    assert stream.event(b'data: {"id":"","choices":[],"prompt_filter_results":[]}\n\n') == b""
    assert stream.end() == b""
