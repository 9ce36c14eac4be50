"""Added latency on one connection, and how soon the upstream is cancelled when a client hangs up."""

import socket
import time

from bench.load import Upstream, Wrong, run_load
from bench.measures import Plan, Row, Target, rounds
from bench.ratios import differences, spread
from bench.servers import Field, Server

HANG_UPS = 20
CANCEL_TIMEOUT_S = 5.0


def latency(field: Field, upstream: Upstream, plan: Plan) -> list[Row]:
    """Milliseconds that a contestant adds to one request after another on one connection."""

    def turn(server: Server, _upstream: Upstream, plan: Plan) -> dict[str, float]:
        contestant = server.contestant
        load = run_load(contestant.port, contestant.request(), connections=1, seconds=plan.seconds)
        return {"p50 ms": load.p50_us / 1e3, "p99 ms": load.p99_us / 1e3}

    series = rounds(field, upstream, plan, turn)
    rows = []
    for key, limit in (("p50 ms", 0.2), ("p99 ms", 1.0)):
        one = series[key]
        target = Target(limit, at_least=False)
        row = Row(
            f"added latency over direct, {key[:3]}, one connection", "ms", 3, target, absolute=one.values
        )
        row.cells.update(one.wrong)
        for name in one.whole():
            if name != "direct":
                row.cells[name] = differences(one.values[name], one.values["direct"])
        rows.append(row)
    return rows


def cancel(field: Field, upstream: Upstream, plan: Plan) -> list[Row]:
    """Milliseconds from a client's close in mid-stream to the upstream seeing its own side closed."""
    numbers = iter(range(1, 1_000_000))

    def turn(server: Server, upstream: Upstream, _plan: Plan) -> dict[str, float]:
        delays = [_hang_up(server, upstream, next(numbers)) for _ in range(HANG_UPS)]
        return {"worst ms": max(delays)}

    one = rounds(field, upstream, Plan(min(plan.rounds, 3), plan.seconds), turn)["worst ms"]
    target = Target(100, at_least=False)
    row = Row(f"hang-up to upstream cancel, worst of {HANG_UPS}", "ms", 1, target, absolute=one.values)
    row.cells.update(one.wrong)
    row.cells.update({name: spread(one.values[name]) for name in one.whole()})
    return [row]


def _hang_up(server: Server, upstream: Upstream, number: int) -> float:
    contestant = server.contestant
    request = contestant.request(f"@stream 500 50 {number}", stream=True)
    with socket.create_connection(("127.0.0.1", contestant.port), timeout=60) as connection:
        connection.sendall(request)
        received = b""
        while received.count(b"data: ") < 3:
            piece = connection.recv(65536)
            if not piece:
                raise Wrong(f"the stream ended early: {received[:300]!r}")
            received += piece
        left_at = time.monotonic_ns()
    seen_at = upstream.cancelled_at_ns(number, CANCEL_TIMEOUT_S)
    if seen_at is None:
        raise Wrong(f"upstream was not cancelled within {CANCEL_TIMEOUT_S:g} s")
    return (seen_at - left_at) / 1e6
