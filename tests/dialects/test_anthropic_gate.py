"""Anthropic's dialect through a real gate, to a server that answers with the cases' bytes."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.dialects.test_anthropic_cases import CASES, chunks_of, upstream_of
from tests.gates import RunningGate, open_gate

Json = dict[str, Any]
KEY = "sk-ant-api03-0123456789abcdef"

ERRORS: dict[str, tuple[int, Json, dict[str, str]]] = {
    "overloaded": (529, {"type": "overloaded_error", "message": "Overloaded"}, {"retry-after": "3"}),
    "limited": (
        429,
        {
            "type": "rate_limit_error",
            "message": "This request would exceed org-17's limit of 9 input tokens.",
        },
        {"retry-after": "7"},
    ),
    "locked": (401, {"type": "authentication_error", "message": f"invalid x-api-key {KEY}"}, {}),
    "too_long": (
        400,
        {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"},
        {},
    ),
    "gone": (404, {"type": "not_found_error", "message": "model: claude-0"}, {}),
}


class Recorded(ThreadingHTTPServer):
    """Answers by the model's name: a case's folder, or an error."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.seen: dict[str, tuple[str, dict[str, str], Json]] = {}


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorded

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = body["model"]
        self.server.seen[name] = (
            self.path,
            {key.lower(): value for key, value in self.headers.items()},
            body,
        )
        if name in ERRORS:
            status, error, headers = ERRORS[name]
            reply = {"type": "error", "error": error, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}
            self.answer(status, "application/json", json.dumps(reply).encode(), headers)
            return
        case = next(case for case in CASES if case.name == name)
        if body.get("stream"):
            self.answer(200, "text/event-stream; charset=utf-8", (case / "reply.sse").read_bytes(), {})
        else:
            self.answer(200, "application/json", (case / "reply.json").read_bytes(), {})

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


def options_of(case: Path) -> Json:
    path = case / "options.json"
    found: Json = json.loads(path.read_text()) if path.exists() else {}
    return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recorded, RunningGate]]:
    """The server, and a gate before it with one upstream for each way in which it can be configured."""
    with recorded() as server:
        models: dict[tuple[str, str], list[str]] = {("refuse", ""): list(ERRORS)}
        for case in CASES:
            options = options_of(case)
            kind = (options.get("unsupported", "refuse"), options.get("version", ""))
            models.setdefault(kind, []).append(case.name)
        tables: list[str] = []
        for (unsupported, version), names in models.items():
            headers = f'headers = {{ anthropic-version = "{version}" }}\n' if version else ""
            tables.append(
                f'[[upstream]]\nname = "u{len(tables)}"\ndialect = "anthropic"\n'
                f'unsupported = "{unsupported}"\n'
                f'base_url = "http://127.0.0.1:{server.server_port}/v1"\napi_key = {{ env = "THERE" }}\n'
                f"models = {json.dumps(names)}\n{headers}"
            )
        folder = tmp_path_factory.mktemp("anthropic")
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
    return reply.status, {name.lower(): value for name, value in reply.getheaders()}, data


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case(house: tuple[Recorded, RunningGate], case: Path) -> None:
    server, gate = house
    request = {**json.loads((case / "request.json").read_text()), "model": case.name}
    status, headers, data = ask(gate, request)
    assert status == 200, data

    path, sent_headers, sent = server.seen[case.name]
    expected = upstream_of(case)
    assert path == "/v1/messages"
    assert sent_headers["x-api-key"] == KEY
    assert sent_headers["anthropic-version"] == options_of(case).get("version", "2026-10-21")
    assert "authorization" not in sent_headers
    assert sent == {**expected["body"], "model": case.name}
    assert headers.get("x-headgate-dropped", "") == ", ".join(expected["dropped"])

    if case.name.endswith("_whole"):
        made, golden = json.loads(data), json.loads((case / "client.json").read_text())
        assert made.pop("created") > golden.pop("created")
        assert made == golden
        return
    made_chunks = list(chunks_of(data))
    golden_chunks = list(chunks_of((case / "client.sse").read_bytes()))
    if case.name in ("overloaded_stream", "broken_off_stream"):
        assert "error" in made_chunks.pop()
        assert b"[DONE]" not in data
        golden_chunks = [chunk for chunk in golden_chunks if "error" not in chunk]
    elif not request.get("stream_options"):
        golden_chunks.pop()  # the usage, which the client did not ask for
    for chunk in [*made_chunks, *golden_chunks]:
        assert chunk.pop("created") > 0
    assert made_chunks == golden_chunks


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
    assert b"org-17" not in data
    assert headers.get("retry-after") == ERRORS[name][2].get("retry-after")


def test_a_parameter_is_refused_by_name(house: tuple[Recorded, RunningGate]) -> None:
    server, gate = house
    server.seen.pop("plain_whole", None)
    status, _, data = ask(
        gate, {"model": "plain_whole", "messages": [{"role": "user", "content": "hi"}], "seed": 7}
    )
    error = json.loads(data)["error"]
    assert (status, error["param"], error["code"]) == (400, "seed", "unsupported_parameter")
    assert "plain_whole" not in server.seen


def test_the_official_client_accumulates_a_stream(house: tuple[Recorded, RunningGate]) -> None:
    client = openai.OpenAI(base_url=f"{house[1].url}/v1", api_key=house[1].key)
    with client.chat.completions.stream(
        model="thinking_stream", messages=[{"role": "user", "content": "hi"}], reasoning_effort="minimal"
    ) as stream:
        message: Any = stream.get_final_completion().choices[0].message
    client.close()
    assert message.content == "The answer"
    assert message.reasoning_content == 'I need "it".\nSo 😀'
    # What the client sends back is what it was given, signature and all.
    assert [block["type"] for block in message.thinking_blocks] == ["thinking", "redacted_thinking"]
    assert message.thinking_blocks[0]["signature"] == "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"
