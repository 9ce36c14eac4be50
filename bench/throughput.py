"""Requests a second: 1 KB in, 1 KB out, 32 keep-alive connections; and bursts of 100-chunk streams."""

from bench.load import Load, Upstream, Wrong, run_load
from bench.measures import Plan, Row, Series, Target, rounds
from bench.ratios import ratios
from bench.servers import Field, Server

CONNECTIONS = 32
BURST_CHUNKS = 100
VOID_BELOW = 2.0  # less, and it is the load generator or the upstream that is measured


def throughput(field: Field, upstream: Upstream, plan: Plan) -> list[Row]:
    """Whole replies a second, as ratios to nginx."""

    def turn(server: Server, _upstream: Upstream, plan: Plan) -> dict[str, float]:
        return {"requests/s": _load(server, server.contestant.request(), plan).per_second}

    series = rounds(field, upstream, plan, turn)["requests/s"]
    return [
        _against_nginx("requests/s, 1 KB in, 1 KB out, 32 connections", series, Target(0.6, at_least=True))
    ]


def bursts(field: Field, upstream: Upstream, plan: Plan) -> list[Row]:
    """Whole streams of 100 chunks a second, as ratios to nginx: written at once, and chunk by chunk."""
    name = f"bursts of {BURST_CHUNKS}-chunk streams/s, {CONNECTIONS} connections"
    rows = []
    for batch, words, target in (
        (BURST_CHUNKS, "upstream writes each at once", Target(1.0, at_least=True)),
        # No target: each write costs the upstream as much as it costs nginx, so this can hardly be valid.
        (1, "upstream writes chunk by chunk", None),
    ):

        def turn(server: Server, _upstream: Upstream, plan: Plan, batch: int = batch) -> dict[str, float]:
            request = server.contestant.request(f"@stream {BURST_CHUNKS} 0 0 {batch}", stream=True)
            load = _load(server, request, plan)
            if load.events < load.completed * BURST_CHUNKS:
                raise Wrong(f"{load.events} events in {load.completed} streams of {BURST_CHUNKS} chunks")
            return {"streams/s": load.per_second}

        series = rounds(field, upstream, plan, turn)["streams/s"]
        rows.append(_against_nginx(f"{name}, {words}", series, target))
    return rows


def _load(server: Server, request: bytes, plan: Plan) -> Load:
    # A slow contestant needs a few seconds for 32 requests at all.
    seconds = max(plan.seconds, 6) if server.contestant.slow else plan.seconds
    return run_load(server.contestant.port, request, connections=CONNECTIONS, seconds=seconds)


def _against_nginx(name: str, series: Series, target: Target | None) -> Row:
    row = Row(name, "of nginx", target=target, absolute=dict(series.values))
    row.cells.update(series.wrong)
    if "nginx" not in series.whole():
        return row
    for contestant in series.whole():
        row.cells[contestant] = ratios(series.values[contestant], series.values["nginx"])
    direct = row.cells.get("direct")
    if not direct or isinstance(direct, str):
        row.void = "load generator and upstream alone were not measured in this run"
    elif direct.median < VOID_BELOW:
        row.void = f"load generator and upstream alone reach {direct.median:.2f} of nginx, not {VOID_BELOW:g}"
    return row
