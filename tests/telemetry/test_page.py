"""GET /metrics through a real server: who may see it, and whether Prometheus' own parsers read it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from headgate.core.observer import Reading, TargetReading, UpstreamReading
from headgate.core.ports import Outcome, Principal
from headgate.core.settings import Server as ServerSettings
from headgate.edge.asgi import bridge
from headgate.edge.route import Route, Routes
from headgate.edge.server import Server
from headgate.store.keys import KeyTable, MasterKey
from headgate.telemetry.counters import MOST_SERIES, Counters
from headgate.telemetry.metrics import ROWS, Collector
from headgate.telemetry.page import MetricsPage
from tests.conftest import run

KEY = "sk-of-the-operator-0123456789"
TEAM = "sk-of-a-team-0123456789abcdef"
OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


def counted(counters: Counters) -> None:
    """One of everything."""
    series = counters.series("chat.completions", 'odd "m\\odel', "near")
    series.requests = 3
    series.errors["rate_limited"] = 1
    series.attempts[Outcome.OK] = 2
    series.prompt_tokens, series.cached_tokens = 12, 5
    series.completion_tokens, series.reasoning_tokens = 30, 9
    series.estimated = 1
    series.images = 6
    series.duration.add(0.5)
    series.first_token.add(0.2)
    series.between.add(0.02)
    counters.lag.add(0.001)


NOW = Reading(
    connections=7,
    upstreams=[UpstreamReading("near", 5, 3)],
    targets=[TargetReading("m", "near", "org/m", "half_open", 1500, 2, 8, 1, 20, 4, 120.5)],
    journal_open=4,
    journal_works=False,
    journal_damage=1,
)


def serving(folder: Path, ask: Callable[[Callable[..., tuple[int, str, str]], MetricsPage], None]) -> None:
    """Runs `ask` in a thread, beside a server with the page; it gets a function that fetches it."""

    async def main() -> None:
        keys = KeyTable()
        MasterKey(folder, keys).load(KEY)
        import hashlib

        keys.put(hashlib.sha256(TEAM.encode()).digest(), Principal("key_7", "team"))
        counters = Counters()
        counted(counters)
        page = MetricsPage(Collector(counters, lambda: NOW), keys, public=False)
        server = Server(Routes([Route("GET", "/metrics", bridge(page))]), ServerSettings())
        _, port = await server.listen("127.0.0.1", 0)

        def fetch(key: str | None = KEY, **headers: str) -> tuple[int, str, str]:
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            lines = headers | ({"authorization": f"Bearer {key}"} if key else {})
            connection.request("GET", "/metrics", headers=lines)
            reply = connection.getresponse()
            found = reply.status, reply.headers["content-type"], reply.read().decode()
            connection.close()
            return found

        try:
            await asyncio.to_thread(ask, fetch, page)
        finally:
            await server.stop(5)

    run(main())


def samples(families: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


MODEL = (("endpoint", "chat.completions"), ("model", 'odd "m\\odel'), ("target", "near"))


def expected(found: dict[Any, float]) -> None:
    assert found["headgate_requests_total", MODEL] == 3
    assert found["headgate_errors_total", tuple(sorted((*MODEL, ("kind", "rate_limited"))))] == 1
    assert found["headgate_attempts_total", tuple(sorted((*MODEL, ("outcome", "ok"))))] == 2
    for kind, count in {"prompt": 12, "cached": 5, "completion": 30, "reasoning": 9}.items():
        assert found["headgate_tokens_total", tuple(sorted((*MODEL, ("kind", kind))))] == count
    assert found["headgate_estimated_usage_total", MODEL] == 1
    assert found["headgate_units_total", tuple(sorted((*MODEL, ("kind", "images"))))] == 6
    assert ("headgate_units_total", tuple(sorted((*MODEL, ("kind", "seconds"))))) not in found
    for name, below, over in (
        ("headgate_request_duration_seconds", "0.32", "0.64"),
        ("headgate_time_to_first_token_seconds", "0.1", "0.25"),
        ("headgate_time_between_tokens_seconds", "0.01", "0.025"),
    ):
        assert found[name + "_count", MODEL] == 1
        assert found[name + "_bucket", tuple(sorted((*MODEL, ("le", below))))] == 0
        assert found[name + "_bucket", tuple(sorted((*MODEL, ("le", over))))] == 1
        assert found[name + "_bucket", tuple(sorted((*MODEL, ("le", "+Inf"))))] == 1
    target = (("model", "m"), ("target", "near"))
    assert found["headgate_target_in_flight", target] == 2
    assert found["headgate_target_waiting", target] == 1
    assert found["headgate_target_resting_seconds", target] == 1.5
    assert found["headgate_upstream_connections", (("state", "busy"), ("target", "near"))] == 2
    states = {state: found["headgate_target_breaker", tuple(sorted((*target, ("state", state))))]
              for state in ("closed", "half_open", "open")}  # fmt: skip
    assert states == {"closed": 0, "half_open": 1, "open": 0}
    assert found["headgate_client_connections", ()] == 7
    assert found["headgate_event_loop_lag_seconds_count", ()] == 1
    assert (found["headgate_journal_open_attempts", ()], found["headgate_journal_writable", ()]) == (4, 0)
    assert found["headgate_journal_damaged_places", ()] == 1
    assert found["process_resident_memory_bytes", ()] > 0


def test_prometheus_reads_every_metric_in_both_of_its_formats(tmp_path: Path) -> None:
    def ask(fetch: Callable[..., tuple[int, str, str]], _: MetricsPage) -> None:
        status, kind, text = fetch()
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        expected(samples(read_text(text)))
        names = {family.name for family in read_text(text)}
        assert names >= {row.name.removesuffix("_total") for row in ROWS}
        status, kind, text = fetch(**OPENMETRICS)
        assert (status, kind.partition(";")[0]) == (200, "application/openmetrics-text")
        assert text.count("# EOF") == 1
        expected(samples(openmetrics.text_string_to_metric_families(text)))  # type: ignore[no-untyped-call]

    serving(tmp_path, ask)


def test_it_takes_the_operators_key_unless_it_is_public(tmp_path: Path) -> None:
    def ask(fetch: Callable[..., tuple[int, str, str]], page: MetricsPage) -> None:
        assert [fetch(key)[0] for key in (None, "sk-wrong-0123456789", TEAM, KEY)] == [401, 401, 403, 200]
        assert "headgate_" not in fetch(TEAM)[2]
        page.public = True
        assert fetch(None)[0] == 200
        page.public = False
        assert fetch(None)[0] == 401

    serving(tmp_path, ask)


def test_the_page_is_bounded_however_many_models_there_are() -> None:
    counters = Counters()
    for number in range(10 * MOST_SERIES):
        series = counters.series("chat.completions", f"m{number}", "up")
        series.requests += 1
        series.duration.add(1)
    families = Collector(counters, lambda: NOW).collect()
    (requests,) = [family for family in families if family.name == "headgate_requests"]
    assert len(requests.samples) == MOST_SERIES + 1
    assert sum(sample.value for sample in requests.samples) == 10 * MOST_SERIES
