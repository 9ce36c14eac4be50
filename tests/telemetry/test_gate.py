"""A real gate seen from outside: its metrics page, its lines, its traces, and what must be in none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.backends.scripted import Line, scripted, until
from tests.conftest import run
from tests.gates import RunningGate, open_gate
from tests.gateway.house import LAST, ROLE, STREAM, Client, answer, chunk, finished, said, usage, whole
from tests.telemetry.receiver import attributes, receiving

UPSTREAM_KEY = "sk-planted-key-of-the-upstream"
PROMPT = "planted-prompt-of-a-client"
ANSWER = "planted-answer-of-a-model"
QUERY = "planted-query"
HEADER = "planted-header"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Upstream:
    """Answers by the model it is asked for, and keeps the heads of what it was asked."""

    def __init__(self) -> None:
        self.heads: list[str] = []

    async def script(self, line: Line) -> None:
        while True:
            request = await line.request()
            head, _, body = request.partition(b"\r\n\r\n")
            self.heads.append(head.decode())
            asked = json.loads(body)
            if asked["model"] == "fails":
                await line.send(whole(b'{"error":{"message":"' + ANSWER.encode() + b'"}}', "500 No"))
            elif asked["model"] == "hangs":
                await line.gone()
                return
            elif asked.get("stream"):
                pieces = [ROLE, *(said(f"{ANSWER} ") for _ in range(20)), finished(), usage(7, 21)]
                await line.send(STREAM, *map(chunk, pieces), chunk(b"data: [DONE]\n\n"), LAST)
            else:
                await line.send(whole(answer(ANSWER, prompt=5, completion=3)))

    def traceparents(self) -> list[str]:
        """Of the requests so far."""
        lines = [line.partition(": ") for head in self.heads for line in head.split("\r\n")]
        return [value for name, _, value in lines if name == "traceparent"]


class House:
    """A gate in a process of its own, and its upstream in this one."""

    def __init__(self, gate: RunningGate, upstream: Upstream) -> None:
        self.gate = gate
        self.upstream = upstream

    async def ask(self, model: str = "good", stream: bool = False, **more: Any) -> int:
        """One request for a model; returns the status."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.gate.port))
        messages = more.pop("messages", [{"role": "user", "content": PROMPT}])
        headers = [("x-secret", HEADER), *more.pop("headers", ())]
        await client.ask(stream, key=self.gate.key, model=model, messages=messages, headers=headers, **more)
        reply = await client.answer()
        client.hang_up()
        return reply.status

    async def get(self, path: str, key: str | None = None) -> tuple[int, str]:
        """One request without a body."""

        def fetch() -> tuple[int, str]:
            connection = HTTPConnection("127.0.0.1", self.gate.port, timeout=60)
            connection.request("GET", path, headers={"authorization": f"Bearer {key}"} if key else {})
            reply = connection.getresponse()
            found = reply.status, reply.read().decode()
            connection.close()
            return found

        return await asyncio.to_thread(fetch)

    async def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample of the page."""
        status, page = await self.get("/metrics", self.gate.key)
        assert status == 200
        for secret in (UPSTREAM_KEY, PROMPT, ANSWER, QUERY, HEADER, self.gate.key):
            assert secret not in page
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def lines(self) -> list[dict[str, Any]]:
        """The request lines so far."""
        said = [json.loads(line) for line in self.gate.log.splitlines()]
        return [line for line in said if line["event"] == "request" and line["path"] != "/readyz"]


@asynccontextmanager
async def house(folder: Path, toml: str = "", **environment: str) -> AsyncIterator[House]:
    """Both, with the models `good`, `fails`, `hangs`, and anything below `any/`."""
    upstream = Upstream()
    async with scripted(upstream.script) as server:
        configuration = f"""
[starter]
enabled = false
[[upstream]]
name = "up"
base_url = "http://127.0.0.1:{server.port}/v1"
models = ["good", "fails", "hangs", "any/*"]
api_key = {{ env = "UP_KEY" }}
[aliases]
nick = "good"
{toml}"""
        variables = {"UP_KEY": UPSTREAM_KEY, "OTEL_BSP_SCHEDULE_DELAY": "50", **environment}
        opened = open_gate(folder, configuration, environment=variables)
        gate = await asyncio.to_thread(opened.__enter__)
        try:
            yield House(gate, upstream)
        finally:
            await asyncio.to_thread(opened.__exit__, None, None, None)
        for secret in (UPSTREAM_KEY, PROMPT, ANSWER, QUERY, HEADER, gate.key):
            assert secret not in gate.log + gate.printed, "a secret in the log"


def in_house(folder: Path, body: Callable[[House], Awaitable[None]], toml: str = "", **more: str) -> None:
    """Runs a test's body in a house."""

    async def main() -> None:
        async with house(folder, toml, **more) as made:
            await body(made)

    run(main(), timeout_s=120)


def of(model: str, target: str = "up", **more: str) -> frozenset[tuple[str, str]]:
    """Labels."""
    return frozenset({"endpoint": "chat.completions", "model": model, "target": target, **more}.items())


def test_the_page_counts_what_happened(tmp_path: Path) -> None:
    async def body(made: House) -> None:
        assert [await made.ask(), await made.ask("nick"), await made.ask(stream=True)] == [200, 200, 200]
        assert await made.ask("fails") == 502
        assert [await made.ask(f"made-up-{number}") for number in range(3)] == [404] * 3
        assert [await made.ask(f"any/{number}") for number in range(3)] == [200] * 3
        assert await made.ask(messages="none") == 400
        page = await made.metrics()
        assert page["headgate_requests_total", of("good")] == 3
        assert page["headgate_attempts_total", of("good", outcome="ok")] == 3
        assert page["headgate_tokens_total", of("good", kind="prompt")] == 5 + 5 + 7
        assert page["headgate_tokens_total", of("good", kind="completion")] == 3 + 3 + 21
        assert page["headgate_request_duration_seconds_count", of("good")] == 3
        assert page["headgate_time_to_first_token_seconds_count", of("good")] == 1
        assert page["headgate_requests_total", of("fails")] == 1
        assert page["headgate_errors_total", of("fails", kind="upstream_failed")] == 1
        assert page["headgate_attempts_total", of("fails", outcome="failed")] >= 1
        assert page["headgate_errors_total", of("", "", kind="model_not_found")] == 3
        assert page["headgate_errors_total", of("", "", kind="invalid_field")] == 1
        assert page["headgate_requests_total", of("*")] == 3
        assert not any("made-up" in str(labels) or "any/" in str(labels) for _, labels in page)
        target = frozenset({"model": "good", "target": "up"}.items())
        assert page["headgate_target_in_flight", target] == 0
        assert page["headgate_target_breaker", target | {("state", "closed")}] == 1
        assert page["headgate_upstream_connections", frozenset({("target", "up"), ("state", "idle")})] >= 1
        assert page["headgate_client_connections", frozenset()] >= 1
        assert page["headgate_journal_writable", frozenset()] == 1
        assert page["headgate_journal_open_attempts", frozenset()] == 0
        assert page["process_resident_memory_bytes", frozenset()] > 0

    in_house(tmp_path, body)


def test_the_page_is_the_operators_unless_it_is_public(tmp_path: Path) -> None:
    async def body(made: House) -> None:
        assert (await made.get("/metrics"))[0] == 401
        assert (await made.get("/metrics", "sk-not-the-operators-0123"))[0] == 401
        status, health = await made.get("/admin/v1/health", made.gate.key)
        assert status == 200
        found = {one["model"]: one for one in json.loads(health)["targets"]}
        assert found["good"]["breaker"] == "closed"
        assert (await made.get("/admin/v1/health"))[0] == 401
        before = (made.gate.folder / "headgate.toml").read_text()
        made.gate.reload(before + "[metrics]\npublic = true\n")
        while (await made.get("/metrics"))[0] != 200:
            await asyncio.sleep(0.01)
        assert (await made.get("/admin/v1/health"))[0] == 401

    in_house(tmp_path, body)


def test_every_request_has_a_line(tmp_path: Path) -> None:
    async def body(made: House) -> None:
        await made.ask(stream=True)
        await made.ask("fails")
        await made.ask("made-up")
        await made.get(f"/v1/nothing?key={QUERY}")
        client = Client(*await asyncio.open_connection("127.0.0.1", made.gate.port))
        await client.ask(key=made.gate.key, model="hangs")
        await until(lambda: len(made.upstream.heads) >= 3)
        client.hang_up()
        await until(lambda: len(made.lines()) == 5)
        good, fails, unknown, nothing, gone = made.lines()
        assert (good["status"], good["outcome"], good["model"], good["target"]) == (200, "ok", "good", "up")
        assert (good["prompt_tokens"], good["completion_tokens"], good["usage"]) == (7, 21, "reported")
        assert (good["stream"], good["attempts"], good["endpoint"]) == (True, 1, "chat.completions")
        assert (good["key_id"], good["key_name"], good["client"]) == ("master", "operator", "127.0.0.1")
        assert 0 <= good["first_token_ms"] <= good["duration_ms"]
        assert good["request_id"].startswith("req_")
        assert (fails["status"], fails["outcome"], fails["code"]) == (502, "failed", "upstream_error")
        assert (unknown["status"], unknown["outcome"]) == (404, "rejected")
        assert unknown["error"] == "model_not_found"
        assert "model" not in unknown
        assert (nothing["status"], nothing["path"], nothing["error"]) == (404, "/v1/nothing", "not_found")
        assert (gone["status"], gone["outcome"], gone["model"]) == (0, "client_gone", "hangs")

    in_house(tmp_path, body)


BOTH = """
[[model]]
name = "both"
targets = [{ upstream = "up", model = "fails" }, { upstream = "up", model = "good", priority = 2 }]
"""


def test_a_second_try_is_seen(tmp_path: Path) -> None:
    with receiving() as receiver:

        async def body(made: House) -> None:
            assert await made.ask("both", stream=True) == 200
            await until(lambda: len(receiver.spans) >= 3 and len(made.lines()) == 1)
            (line,) = made.lines()
            assert (line["attempts"], line["outcome"], line["model"]) == (2, "ok", "both")
            assert len(line["trace_id"]) == 32
            page = await made.metrics()
            assert page["headgate_requests_total", of("both")] == 1
            assert page["headgate_attempts_total", of("both", outcome="failed")] == 1
            assert page["headgate_attempts_total", of("both", outcome="ok")] == 1
            assert page["headgate_tokens_total", of("both", kind="prompt")] == 7
            assert ("headgate_errors_total", of("both", kind="upstream_failed")) not in page
            request, first, second = (
                next(span for span in receiver.spans if span.name == name)
                for name in ("chat both", "chat fails", "chat good")
            )
            assert first.parent_span_id == second.parent_span_id == request.span_id
            assert first.end_time_unix_nano <= second.end_time_unix_nano <= request.end_time_unix_nano
            assert [span.status.code for span in (request, first, second)] == [0, 2, 0]
            assert attributes(request)["headgate.attempts"] == 2
            assert [head.split("-")[2] for head in made.upstream.traceparents()] == [
                first.span_id.hex(),
                second.span_id.hex(),
            ]

        in_house(tmp_path, body, f'{BOTH}[telemetry]\notlp_endpoint = "{receiver.url}"\n')


def test_lines_are_left_out_when_nobody_wants_them(tmp_path: Path) -> None:
    async def body(made: House) -> None:
        await made.ask()
        made.gate.reload(made.gate.folder.joinpath("headgate.toml").read_text() + "\n# again\n")
        await until(lambda: "configuration reloaded" in made.gate.log)
        assert not [line for line in made.gate.log.splitlines() if '"event":"request"' in line]
        # The form can change while it runs, for the program's own lines and for requests'.
        toml = made.gate.folder.joinpath("headgate.toml").read_text()
        made.gate.reload(toml.replace("requests = false", 'format = "text"'))
        await until(lambda: " INFO configuration reloaded\n" in made.gate.log)
        await made.ask()
        await until(lambda: " 200 POST /v1/chat/completions good -> up " in made.gate.log)

    in_house(tmp_path, body, "[log]\nrequests = false\n")


def test_a_trace_goes_through(tmp_path: Path) -> None:
    with receiving() as receiver:

        async def body(made: House) -> None:
            headers = [("traceparent", CALLER), ("tracestate", "vendor=1")]
            await made.ask(stream=True, headers=headers)
            await until(lambda: len(receiver.spans) >= 2)
            await made.ask("fails")
            await until(lambda: len(receiver.spans) >= 3 + len(made.upstream.heads) - 1)
            sent = made.upstream.traceparents()
            request, attempt = (
                next(span for span in receiver.spans if span.name == "chat good" and span.kind == kind)
                for kind in (2, 3)
            )
            assert request.trace_id.hex() == attempt.trace_id.hex() == CALLER.split("-")[1]
            assert request.parent_span_id.hex() == CALLER.split("-")[2]
            assert attempt.parent_span_id == request.span_id
            assert sent[0] == f"00-{CALLER.split('-')[1]}-{attempt.span_id.hex()}-01"
            assert "tracestate: vendor=1" in made.upstream.heads[0]
            told = attributes(attempt)
            assert told["gen_ai.provider.name"] == "openai"
            assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (7, 21)
            assert attributes(request)["gen_ai.response.time_to_first_chunk"] >= 0
            failed = [span for span in receiver.spans if span.name == "chat fails"]
            assert {attributes(span)["error.type"] for span in failed} == {"upstream_failed", "500"}
            assert len({value.split("-")[1] for value in sent}) == 2

        in_house(tmp_path, body, f'[telemetry]\notlp_endpoint = "{receiver.url}"\n')
        for secret in (UPSTREAM_KEY, PROMPT, ANSWER, HEADER):
            assert secret.encode() not in receiver.raw


@pytest.mark.parametrize("stream", [False, True])
def test_prompts_are_in_traces_only_when_they_are_wanted(tmp_path: Path, stream: bool) -> None:
    with receiving() as receiver:

        async def body(made: House) -> None:
            await made.ask(stream=stream)
            await until(lambda: len(receiver.spans) >= 2)
            (request,) = [span for span in receiver.spans if span.kind == 2]
            told = attributes(request)
            (asked,) = json.loads(told["gen_ai.input.messages"])
            assert asked == {"role": "user", "parts": [{"type": "text", "content": PROMPT}]}
            (answered,) = json.loads(told["gen_ai.output.messages"])
            assert answered["parts"][0]["content"].startswith(ANSWER)

        in_house(tmp_path, body, f'[telemetry]\notlp_endpoint = "{receiver.url}"\nprompts = true\n')


def test_without_an_endpoint_nothing_is_passed_on(tmp_path: Path) -> None:
    async def body(made: House) -> None:
        await made.ask(headers=[("traceparent", CALLER)])
        assert made.upstream.traceparents() == []

    in_house(tmp_path, body)


def test_the_standard_variables_are_enough(tmp_path: Path) -> None:
    with receiving() as receiver:

        async def body(made: House) -> None:
            await made.ask()
            await until(lambda: len(receiver.spans) >= 2)

        in_house(tmp_path, body, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_SERVICE_NAME="front")
        assert receiver.resources[0]["service.name"] == "front"
