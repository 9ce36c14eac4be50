"""20 MB bodies, both ways: what they take in memory, and what they do to everyone else's latency."""

import socket
import threading
import time
from collections.abc import Callable

from bench.contestants import Contestant
from bench.load import Load, Upstream, Wrong, run_load
from bench.machine import give_way, reset_peak, resident_mb
from bench.measures import Plan, Row, Series, Target, rounds
from bench.ratios import Spread, ratios, spread
from bench.servers import Field, Server

BIG = 20_000_000
PIECE = 128 << 10
SEND_BYTES_PER_SECOND = 100_000_000  # a client on a fast line
READ_BYTES_PER_SECOND = 4_000_000  # a reader that is slower than the upstream by far
EVERY_S = 1.0  # one big request a second
MIN_SECONDS, SLOW_SECONDS = 4.0, 8.0  # a turn sees a few big bodies, whatever --seconds says
SMALL_PER_SECOND, SLOW_SMALL_PER_SECOND = 200, 10  # light traffic comes on a schedule: a stall is felt by all
BUSY_CONNECTIONS = 32  # as many as for throughput
MEMORY_LIMIT_MB = 64  # the body itself, one edited copy to send, and room for buffers: three bodies at most
SLOW_READER_LIMIT_MB = 8  # a reply is relayed, never collected
VOID_ABOVE = 1.5  # more, and it is the load side that the big bodies slow down
KINDS = {"up": "a 20 MB request each second", "down": "20 MB replies to a slow reader"}


def bodies(field: Field, upstream: Upstream, plan: Plan) -> list[Row]:
    """p99 of other requests with and without big bodies under way (same round), and memory growth."""
    series = rounds(field, upstream, Plan(min(plan.rounds, 3), plan.seconds), _turn)
    rows = []
    for kind, words in KINDS.items():
        twice = Target(2.0, at_least=False)
        busy = Row(f"p99 of others, {BUSY_CONNECTIONS} busy connections, {words}", "of without", 2, twice)
        rows.append(_slowed(busy, series[f"busy {kind} p99 ms"], series["busy alone p99 ms"]))
        light = Row(f"p99 of others, light traffic, {words}", "of without", 2)
        rows.append(_slowed(light, series[f"light {kind} p99 ms"], series["light alone p99 ms"]))
        rows.append(
            _plain(Row(f"longest wait, light traffic, {words}", "ms", 1), series[f"light {kind} max ms"])
        )
    for kind, limit in (("up", MEMORY_LIMIT_MB), ("down", SLOW_READER_LIMIT_MB)):
        growth = Row(f"peak memory over before, {KINDS[kind]}", "MB", 1, Target(limit, at_least=False))
        rows.append(_plain(growth, series[f"{kind} growth MB"]))
    return rows


def _slowed(row: Row, p99: Series, base: Series) -> Row:
    row.absolute = p99.values
    row.cells.update(p99.wrong)
    row.cells.update({name: ratios(p99.values[name], base.values[name]) for name in p99.whole()})
    direct = row.cells.get("direct")
    if isinstance(direct, Spread) and direct.median > VOID_ABOVE:
        row.void = f"without any contestant the p99 already rises to {direct.median:.2f} of what it was"
    return row


def _plain(row: Row, series: Series) -> Row:
    row.absolute = series.values
    row.cells.update(series.wrong)
    row.cells.update({name: spread(series.values[name]) for name in series.whole()})
    return row


def _turn(server: Server, _upstream: Upstream, plan: Plan) -> dict[str, float]:
    contestant = server.contestant
    big = contestant.request_of_size(BIG)
    big_reply = contestant.request(f"@size {BIG}")
    work: dict[str, Callable[[threading.Event], None]] = {
        "up": lambda stop: _upload(contestant, big, stop),
        "down": lambda stop: _read_slowly(contestant, big_reply, stop),
    }
    values = {"light alone p99 ms": _light(contestant, plan.seconds).p99_us / 1e3}
    for kind in KINDS:
        before = resident_mb(server.pid) if server.pid else 0.0
        reset_peak(server.pid)
        with Beside(work[kind]):
            load = _light(contestant, plan.seconds)
        values[f"light {kind} p99 ms"] = load.p99_us / 1e3
        values[f"light {kind} max ms"] = load.max_us / 1e3
        if server.pid:
            values[f"{kind} growth MB"] = max(0.0, resident_mb(server.pid, peak=True) - before)
    values["busy alone p99 ms"] = _busy(contestant, plan.seconds).p99_us / 1e3
    for kind in KINDS:
        with Beside(work[kind]):
            values[f"busy {kind} p99 ms"] = _busy(contestant, plan.seconds).p99_us / 1e3
    return values


def _busy(contestant: Contestant, seconds: float) -> Load:
    """Small requests on connections that are never idle."""
    return run_load(
        contestant.port,
        contestant.request(),
        connections=BUSY_CONNECTIONS,
        seconds=max(seconds, SLOW_SECONDS if contestant.slow else MIN_SECONDS),
    )


def _light(contestant: Contestant, seconds: float) -> Load:
    """Small requests that come on a schedule."""
    rate = SLOW_SMALL_PER_SECOND if contestant.slow else SMALL_PER_SECOND
    seconds = max(seconds, SLOW_SECONDS if contestant.slow else MIN_SECONDS)
    load = run_load(contestant.port, contestant.request(), connections=8, seconds=seconds, rate=rate)
    if load.completed < 0.9 * rate * seconds:
        raise Wrong(f"only {load.completed} of {rate * seconds:.0f} small requests were answered in time")
    return load


class Beside:
    """Runs big requests over and over in a thread for as long as the `with` lasts; at least one is whole."""

    def __init__(self, work: Callable[[threading.Event], None]) -> None:
        self._work = work
        self._stop = threading.Event()
        self._whole = 0
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        give_way()
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                self._work(self._stop)
                self._whole += 1
                self._stop.wait(max(0.0, EVERY_S - (time.monotonic() - began)))
        except (OSError, Wrong) as error:
            self._error = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None and self._error is not None:
            raise Wrong(f"big body: {self._error}")


def _upload(contestant: Contestant, request: bytes, _stop: threading.Event) -> None:
    with socket.create_connection(("127.0.0.1", contestant.port), timeout=60) as connection:
        began = time.monotonic()
        for at in range(0, len(request), PIECE):
            connection.sendall(request[at : at + PIECE])
            ahead = at / SEND_BYTES_PER_SECOND - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)
        _check_status(connection.recv(65536))


def _read_slowly(contestant: Contestant, request: bytes, stop: threading.Event) -> None:
    connection = socket.socket()
    # A small receive buffer, or the kernel would take the slow reader's part.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
    with connection:
        connection.settimeout(60)
        connection.connect(("127.0.0.1", contestant.port))
        connection.sendall(request)
        got, began = 0, time.monotonic()
        while got < BIG and not stop.is_set():
            piece = connection.recv(PIECE)
            if not piece:
                raise Wrong(f"the reply ended after {got} bytes")
            if not got:
                _check_status(piece)
            got += len(piece)
            ahead = got / READ_BYTES_PER_SECOND - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)


def _check_status(reply: bytes) -> None:
    if not reply.startswith(b"HTTP/1.1 200"):
        raise Wrong(f"not accepted: {reply[:300]!r}")
