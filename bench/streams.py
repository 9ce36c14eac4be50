"""Paced streams: CPU time per chunk; and what 2,000 open streams take in memory."""

import time

from bench.load import Running, Upstream, Wrong
from bench.machine import cpu_seconds, resident_mb
from bench.measures import Plan, Row, Target, rounds
from bench.ratios import ratios, spread
from bench.servers import Field, Server

STREAMS = 256
CHUNKS_PER_SECOND = 50
WARMUP_S = 2.0  # all streams are open, each in its own phase
SLOW_WARMUP_S = 20.0  # LiteLLM takes many seconds to open 256 streams
OPEN_STREAMS = 2000
OPEN_TIMEOUT_S, SLOW_OPEN_TIMEOUT_S = 30, 180
DIRECT = "direct"  # it has no process to look at


def paced(field: Field, upstream: Upstream, plan: Plan) -> list[Row]:
    """CPU seconds of the contestant's processes per chunk that a client got, as ratios to nginx."""
    series = rounds(field, upstream, plan, _paced_turn)
    load = f"{STREAMS} streams x {CHUNKS_PER_SECOND} chunks/s"
    cpu = series["CPU us/chunk"]
    cost = Row(
        f"CPU time per chunk, {load}", "of nginx", target=Target(1.6, at_least=False), absolute=cpu.values
    )
    cost.cells.update(cpu.wrong)
    if "nginx" in cpu.whole():
        for name in cpu.whole():
            cost.cells[name] = ratios(cpu.values[name], cpu.values["nginx"])
    share = series["share in time"]
    arrived = Row(f"chunks that reach the client in time, {load}", "share", absolute=share.values)
    arrived.cells.update({name: spread(share.values[name]) for name in share.whole()})
    return [cost, arrived]


def _paced_turn(server: Server, upstream: Upstream, plan: Plan) -> dict[str, float]:
    contestant = server.contestant
    warmup = SLOW_WARMUP_S if contestant.slow else WARMUP_S
    upstream.wait_until_idle()
    chunks = int(CHUNKS_PER_SECOND * (warmup + plan.seconds + 3))
    request = contestant.request(f"@stream {chunks} {CHUNKS_PER_SECOND}", stream=True)
    load = Running(contestant.port, request, connections=STREAMS, seconds=plan.seconds, warmup=warmup)
    try:
        load.wait_for_warmup()
        active, before = upstream.stats()["active"], cpu_seconds(server.pid)
        arrived, after = load.measured().events, cpu_seconds(server.pid)
    finally:
        load.stop()
    if not arrived:
        raise Wrong("no chunk arrived")
    due = CHUNKS_PER_SECOND * STREAMS * plan.seconds
    values = {"share in time": min(1.0, arrived / due)}
    if active < (STREAMS / 2 if contestant.slow else STREAMS):
        raise Wrong(f"only {active} of {STREAMS} streams were open after {warmup:g} s")
    if contestant.name != DIRECT:
        values["CPU us/chunk"] = (after - before) / arrived * 1e6
    return values


def open_streams(field: Field, upstream: Upstream, plan: Plan) -> list[Row]:
    """Resident memory with 2,000 streams open at once, one chunk a second each."""
    # Once: what a process has grown to is not given back, so a second round would have no "before".
    once = Plan(1, plan.seconds)
    idle = Row("resident after one request", "MB", digits=0)
    full = Row(f"resident with {OPEN_STREAMS:,} open streams", "MB", 0, Target(150, at_least=False))
    for row, turn in ((idle, _idle_turn), (full, _open_turn)):
        one = rounds(field, upstream, once, turn)["MB"]
        row.absolute = one.values
        row.cells.update(one.wrong)
        row.cells.update({name: spread(one.values[name]) for name in one.whole()})
    return [idle, full]


def _idle_turn(server: Server, _upstream: Upstream, _plan: Plan) -> dict[str, float]:
    return {} if server.contestant.name == DIRECT else {"MB": resident_mb(server.pid)}


def _open_turn(server: Server, upstream: Upstream, plan: Plan) -> dict[str, float]:
    contestant = server.contestant
    if contestant.name == DIRECT:
        return {}
    upstream.wait_until_idle()
    wait_s, per_second = (SLOW_OPEN_TIMEOUT_S, 0.2) if contestant.slow else (OPEN_TIMEOUT_S, 1)
    # A stream outlives the wait for all of them, and ends by itself where hang-ups are not passed on.
    chunks = int((wait_s + plan.seconds) * per_second) + 1
    request = contestant.request(f"@stream {chunks} {per_second}", stream=True)
    load = Running(contestant.port, request, connections=OPEN_STREAMS, seconds=wait_s + 60, warmup=0)
    try:
        deadline = time.monotonic() + wait_s
        while (active := upstream.stats()["active"]) < OPEN_STREAMS:
            if time.monotonic() > deadline:
                raise Wrong(f"only {active} of {OPEN_STREAMS} streams could be opened")
            time.sleep(0.1)
        time.sleep(plan.seconds)
        opened = resident_mb(server.pid)
        if (active := upstream.stats()["active"]) < OPEN_STREAMS:
            raise Wrong(f"only {active} of {OPEN_STREAMS} streams stayed open")
    finally:
        load.stop()
    return {"MB": opened}
