"""`headgate upstreams` as a process: what it lists, how a trial reads, how a running gate's upstreams are."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import KEY, MASTER_KEY, headgate, one_line, serving


class Upstream(http.server.BaseHTTPRequestHandler):
    """A server that knows one key and one model."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["authorization"] != f"Bearer {KEY}":
            self._say(401, {"error": {"message": "no"}})
        elif asked["stream"]:
            delta = {
                "choices": [{"index": 0, "delta": {"content": "OK"}, "finish_reason": "stop"}],
                "usage": USED,
            }
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write(f"data: {json.dumps(delta)}\n\ndata: [DONE]\n\n".encode())
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": "OK"}, "finish_reason": "stop"}
            self._say(200, {"choices": [choice], "usage": USED})

    def _say(self, status: int, body: dict[str, Any]) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


USED = {"prompt_tokens": 3, "completion_tokens": 1}


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


@pytest.fixture
def upstreams(tmp_path: Path, port: int, taken_port: int) -> Path:
    """Two upstreams of which one works, and one whose models have no names."""
    path = tmp_path / "gate.toml"
    path.write_text(
        f"""
[server]
port = 0
[[upstream]]
name = "works"
base_url = "http://127.0.0.1:{port}/v1"
models = ["m", {{ name = "n", upstream_name = "org/n" }}]
api_key = {{ env = "UP_KEY" }}
[[upstream]]
name = "mute"
base_url = "http://127.0.0.1:{taken_port}/v1"
models = ["m"]
first_byte_timeout_ms = 200
[[upstream]]
name = "any"
provider = "ollama"
base_url = "http://127.0.0.1:{port}/v1"
models = ["gpt-*"]
api_key = {{ env = "OTHER_KEY" }}
"""
    )
    return path


KEYS = {"UP_KEY": KEY, "OTHER_KEY": "sk-another-key-nobody-may-see"}


def test_the_list_names_everything_but_keys(tmp_path: Path, upstreams: Path) -> None:
    result = headgate(tmp_path, "upstreams", "list", "--config", "gate.toml", **KEYS)
    assert (result.returncode, result.stderr) == (0, "")
    for word in ("works", "env:UP_KEY", "m, n", "gpt-*", "openai"):
        assert word in result.stdout
    found = headgate(tmp_path, "upstreams", "list", "--json", HEADGATE_CONFIG="gate.toml", **KEYS)
    (works, mute, _) = json.loads(found.stdout)
    assert (works["keys"], works["models"], mute["keys"]) == (["env:UP_KEY"], ["m", "n"], [])
    assert not any(key in result.stdout + found.stdout for key in KEYS.values())


def test_a_trial_says_which_work_and_what_is_wrong(tmp_path: Path, upstreams: Path) -> None:
    command = ("upstreams", "test", "--config", "gate.toml", "--timeout-ms", "5000")
    result = headgate(tmp_path, *command, "works", "mute", **KEYS)
    assert (result.returncode, result.stderr) == (1, "")
    first, *rest = result.stdout.splitlines()
    assert first.startswith("ok     works (m, key from env:UP_KEY): whole ")
    assert rest[0] == "FAILS  mute (m)"
    assert "no answer within" in rest[1]
    assert rest[2].startswith("       -> ")
    good = headgate(tmp_path, *command, "works", "--json", **KEYS)
    assert good.returncode == 0
    (trial,) = json.loads(good.stdout)
    assert trial["ok"]
    assert [finding["step"] for finding in trial["findings"]] == ["whole", "stream"]
    assert not any(key in result.stdout + good.stdout for key in KEYS.values())


def test_a_trial_of_one_model(tmp_path: Path, upstreams: Path) -> None:
    command = ("upstreams", "test", "--config", "gate.toml", "--json", "--model")
    assert [one["model"] for one in json.loads(headgate(tmp_path, *command, "n", **KEYS).stdout)] == ["n"]
    refused = json.loads(headgate(tmp_path, *command, "gpt-x", **KEYS).stdout)
    assert [(one["upstream"], one["model"], one["ok"]) for one in refused] == [("any", "gpt-x", False)]
    assert "401" in refused[0]["findings"][0]["detail"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("test nobody", 'no upstream is called "nobody"; there are: works, mute, any'),
        ("test any", 'upstream "any" names its models with a *: say which, with --model'),
        ("test --model x", 'no upstream has a model "x"'),
        ("status --url ftp://x", "--url: expected an address that begins with http:// or https://"),
    ],
)
def test_wrong_words_are_one_line(words: str, told: str, tmp_path: Path, upstreams: Path) -> None:
    result = headgate(
        tmp_path, "upstreams", *words.split(), HEADGATE_CONFIG=str(upstreams), HEADGATE_KEY=MASTER_KEY, **KEYS
    )
    assert one_line(result) == told
    assert result.returncode == 2


def test_status_asks_the_running_gate(tmp_path: Path, upstreams: Path) -> None:
    given = {"HEADGATE_MASTER_KEY": MASTER_KEY, **KEYS}
    with serving(tmp_path, "--config", str(upstreams), **given) as gate:
        place = {"HEADGATE_URL": gate.url, "HEADGATE_KEY": MASTER_KEY}
        result = headgate(tmp_path, "upstreams", "status", **place)
        assert (result.returncode, result.stderr) == (0, "")
        assert any(line.split()[:3] == ["works", "m", "closed"] for line in result.stdout.splitlines())
        found = json.loads(headgate(tmp_path, "upstreams", "status", "--json", **place).stdout)
        assert {one["target"] for one in found["targets"]} >= {"works", "mute"}
        wrong = headgate(tmp_path, "upstreams", "status", **place | {"HEADGATE_KEY": "sk-wrong-0123456789"})
        assert one_line(wrong).endswith("/admin/v1/health: the key is not the operator's")
        assert wrong.returncode == 1
    gone = headgate(tmp_path, "upstreams", "status", **place)
    assert "no gate answers there" in one_line(gone)
    none = headgate(tmp_path, "upstreams", "status")
    assert "HEADGATE_KEY is not set" in one_line(none)
