"""Gemini's dialect through a real gate, to a server that answers with the cases' bytes."""

from __future__ import annotations

import base64
import http.client
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import openai
import pytest
from google import genai
from google.genai import types
from pydantic.alias_generators import to_camel

from tests.dialects.gemini_types import same_base64
from tests.dialects.test_gemini_cases import CASES, FAILING, chunks_of, options_of, upstream_of
from tests.gates import RunningGate, open_gate

Json = dict[str, Any]
KEY = "AIzaSyA-0123456789abcdefghijklmnopqrstu"

ERRORS: dict[str, tuple[int, str, str, list[Json]]] = {
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", []),
    "limited": (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota of project 1717.",
        [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}],
    ),
    "locked": (400, "INVALID_ARGUMENT", f"API key not valid: {KEY}", []),
    "too_long": (
        400,
        "INVALID_ARGUMENT",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        [],
    ),
    "gone": (404, "NOT_FOUND", "models/gemini-0 is not found for API version v1beta.", []),
}


class Recorded(ThreadingHTTPServer):
    """Answers by the model's name in the path: a case's folder, or an error."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.seen: dict[str, tuple[str, dict[str, str], Json]] = {}


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorded

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = self.path.removeprefix("/v1beta/models/").partition(":")[0]
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.seen[name] = (self.path, headers, body)
        if name in ERRORS:
            status, word, message, details = ERRORS[name]
            error = {"error": {"code": status, "message": message, "status": word, "details": details}}
            # To a request for a stream, the error comes in an array.
            found: Any = [error] if "alt=sse" in self.path else error
            self.answer(status, "application/json; charset=UTF-8", json.dumps(found).encode())
            return
        case = case_of(name)
        if case.name.endswith("_stream"):
            # Google's lines end in CR LF.
            stream = (case / "reply.sse").read_bytes().replace(b"\n", b"\r\n")
            self.answer(200, "text/event-stream", stream)
        else:
            self.answer(200, "application/json; charset=UTF-8", (case / "reply.json").read_bytes())

    def answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        # In two pieces, cut inside an event.
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        self.wfile.write(body[len(body) // 2 :])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def recorded() -> Iterator[Recorded]:
    with Recorded() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def name_of(case: Path) -> str:
    """The upstream's name for a case: how the model is spoken to is judged by how it begins."""
    family = "gemini-2.5" if "model" in options_of(case) else "gemini-3.5"
    return f"{family}-{case.name}"


def case_of(name: str) -> Path:
    return next(case for case in CASES if name_of(case) == name)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recorded, RunningGate]]:
    """The server, and a gate before it with an upstream for each way in which it can be configured."""
    with recorded() as server:
        models: dict[str, list[str]] = {"refuse": list(ERRORS), "drop": []}
        for case in CASES:
            models[options_of(case).get("unsupported", "refuse")].append(name_of(case))
        tables = [
            f'[[upstream]]\nname = "{unsupported}"\ndialect = "gemini"\nunsupported = "{unsupported}"\n'
            f'base_url = "http://127.0.0.1:{server.server_port}/v1beta"\napi_key = {{ env = "THERE" }}\n'
            f"models = {json.dumps(names)}\n"
            for unsupported, names in models.items()
        ]
        folder = tmp_path_factory.mktemp("gemini")
        # What an upstream says is told as it is: none rests for it.
        tables.append("[health]\nrest_max_ms = 1\n")
        with open_gate(folder, "\n".join(tables), environment={"THERE": KEY}) as gate:
            yield server, gate
            assert KEY not in gate.log + gate.printed


def ask(gate: RunningGate, body: Json) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=60)
    headers = {"authorization": f"Bearer {gate.key}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    data = LINK.sub(lambda link: unlinked(link[0]), data)
    return reply.status, {name.lower(): value for name, value in reply.getheaders()}, data


LINK = re.compile(rb"http://127\.0\.0\.1:[0-9]+/media/[\w.-]+")


def unlinked(link: bytes) -> bytes:
    """The picture behind a link as the data URL that stands in the cases."""
    with urlopen(link.decode(), timeout=60) as reply:
        kind = reply.headers["content-type"]
        return f"data:{kind};base64,{base64.b64encode(reply.read()).decode()}".encode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case(house: tuple[Recorded, RunningGate], case: Path) -> None:
    server, gate = house
    request = {**json.loads((case / "request.json").read_text()), "model": name_of(case)}
    status, headers, data = ask(gate, request)

    path, sent_headers, sent = server.seen[name_of(case)]
    expected = upstream_of(case)
    assert path.partition(":")[2] == expected["path"].partition(":")[2]
    assert sent_headers["x-goog-api-key"] == KEY
    assert "authorization" not in sent_headers
    assert sent == expected["body"]
    if case.name in ("malformed_call_stream", "not_drawn_stream"):
        # Nothing was said before, so that it can be told by the status.
        assert (status, json.loads(data)["error"]["code"]) == (502, "upstream_error")
        return
    assert status == 200, data
    assert headers.get("x-headgate-dropped", "") == ", ".join(expected["dropped"])

    if case.name.endswith("_whole"):
        made, golden = json.loads(data), json.loads((case / "client.json").read_text())
        assert made.pop("created") > golden.pop("created")
        assert made == golden
        return
    made_chunks = list(chunks_of(data))
    golden_chunks = list(chunks_of((case / "client.sse").read_bytes()))
    if case.name in FAILING:
        assert "error" in made_chunks.pop()
        assert b"[DONE]" not in data
        golden_chunks = [chunk for chunk in golden_chunks if "error" not in chunk]
    else:
        assert data.count(b"[DONE]") == 1
        if not request.get("stream_options"):
            golden_chunks.pop()  # the usage, which the client did not ask for
    for chunk in [*made_chunks, *golden_chunks]:
        assert chunk.pop("created") > 0
    assert made_chunks == golden_chunks


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_official_sdk_sends_the_same(house: tuple[Recorded, RunningGate], case: Path) -> None:
    """Its client, given what our body says, makes that body of it, and asks at the same place."""
    server = house[0]
    expected = upstream_of(case)
    body: Json = expected["body"]
    config: Json = {**body.get("generationConfig", {})}
    for name in body.keys() - {"contents", "generationConfig"}:
        config[name] = body[name]
    settings = types.GenerateContentConfig.model_validate_json(json.dumps(config))
    settings.automatic_function_calling = types.AutomaticFunctionCallingConfig(disable=True)
    contents: Any = [types.Content.model_validate_json(json.dumps(turn)) for turn in body["contents"]]
    options = types.HttpOptions(base_url=f"http://127.0.0.1:{server.server_port}", api_version="v1beta")
    model = name_of(case)
    with genai.Client(api_key=KEY, http_options=options) as client:
        if case.name.endswith("_stream"):
            with suppress(genai.errors.APIError):  # some of the replies break off with one
                list(client.models.generate_content_stream(model=model, contents=contents, config=settings))
        else:
            client.models.generate_content(model=model, contents=contents, config=settings)
    path, headers, made = server.seen[model]
    assert path.partition(":")[2] == expected["path"].partition(":")[2]
    assert headers["x-goog-api-key"] == KEY
    assert spelt_alike(made) == spelt_alike(body)


def spelt_alike(body: Json) -> Any:
    """The SDK says some names with underscores, and an empty object; both mean the same there."""
    return same_base64(without_underscores({name: value for name, value in body.items() if value != {}}))


def without_underscores(value: Any) -> Any:
    if isinstance(value, dict):
        return {to_camel(name): without_underscores(item) for name, item in value.items()}
    return [without_underscores(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("overloaded", 503, "upstream_unavailable"),
        ("limited", 429, "rate_limit_exceeded"),
        ("locked", 502, "upstream_error"),
        ("too_long", 400, "context_length_exceeded"),
        ("gone", 404, "model_not_found"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error(
    house: tuple[Recorded, RunningGate], name: str, status: int, code: str, stream: bool
) -> None:
    found, headers, data = ask(
        house[1], {"model": name, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    )
    error = json.loads(data)["error"]
    assert (found, error["code"]) == (status, code)
    assert KEY.encode() not in data
    assert b"1717" not in data
    assert headers.get("retry-after") == ("7" if name == "limited" else None)


def test_a_parameter_is_refused_by_name(house: tuple[Recorded, RunningGate]) -> None:
    server, gate = house
    name = "gemini-3.5-plain_whole"
    server.seen.pop(name, None)
    body = {"model": name, "messages": [{"role": "user", "content": "hi"}], "verbosity": "low"}
    status, _, data = ask(gate, body)
    error = json.loads(data)["error"]
    assert (status, error["param"], error["code"]) == (400, "verbosity", "unsupported_parameter")
    assert name not in server.seen


def test_the_official_client_keeps_signatures(house: tuple[Recorded, RunningGate]) -> None:
    """A stream that it accumulates, sent back as it is, carries the signature of the call to Gemini."""
    server, gate = house
    with openai.OpenAI(base_url=f"{gate.url}/v1", api_key=gate.key) as client:
        user: Any = {"role": "user", "content": "hi"}
        with client.chat.completions.stream(model="gemini-3.5-signatures_stream", messages=[user]) as stream:
            message = stream.get_final_completion().choices[0].message
        assert message.tool_calls is not None
        results: Any = [
            {"role": "tool", "tool_call_id": call.id, "content": "15"} for call in message.tool_calls
        ]
        said: Any = message.model_dump(exclude_none=True, exclude={"parsed"})
        for call in said["tool_calls"]:
            call["function"].pop("parsed_arguments", None)
        client.chat.completions.create(model="gemini-3.5-plain_whole", messages=[user, said, *results])
    _, _, sent = server.seen["gemini-3.5-plain_whole"]
    turn = sent["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in turn if "functionCall" in part] == [
        "CikB0e2Kb6aRkxT2kQ==",
        None,
    ]
    assert [part["functionResponse"]["id"] for part in sent["contents"][2]["parts"]] == ["c3", "c4"]
