"""`python -m bench [MEASURE ...]`: runs measures, prints them, keeps them in .bench/results.json."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import bodies, engines, interpreter, latency, machine, report, starter, streams, throughput
from bench.contestants import CONTESTANTS, Contestant, by_names
from bench.load import Upstream
from bench.measures import Plan, Row
from bench.servers import Field

MEASURES: dict[str, Callable[[Field, Upstream, Plan], list[Row]]] = {
    "throughput": throughput.throughput,
    "bursts": throughput.bursts,
    "paced": streams.paced,
    "latency": latency.latency,
    "cancel": latency.cancel,
    "streams": streams.open_streams,
    "bodies": bodies.bodies,
}
STARTER = "starter"  # it has an engine behind the gate, and no contestants
ENGINES = "engines"  # these have no gate before them
DOCUMENT = machine.ROOT / "docs" / "benchmarks.md"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "measures", nargs="*", metavar="MEASURE", help=", ".join(MEASURES) + " (default: all)"
    )
    parser.add_argument("--only", metavar="NAMES", help="contestants, comma-separated (nginx, headgate, ...)")
    parser.add_argument("--rounds", type=int, default=7, help="how often A B A B ... goes round (default 7)")
    parser.add_argument("--seconds", type=float, default=3, help="how long one turn lasts (default 3)")
    parser.add_argument("--realtime", action="store_true", help="before all others on a busy machine (root)")
    parser.add_argument(
        "--awake", action="store_true", help="the load side never sleeps (see docs/benchmarks.md, Waking)"
    )
    parser.add_argument("--model", type=Path, default=starter.MODEL, help="GGUF for the starter measure")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/benchmarks.md")
    return parser.parse_args()


def main() -> None:
    """Runs what was asked for. Exits 1 if a target of Headgate was not shown to be met."""
    chosen = arguments()
    known = [*MEASURES, STARTER, ENGINES]
    wanted = chosen.measures or known
    if unknown := set(wanted) - set(known):
        raise SystemExit(f"no such measure: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    names = chosen.only.split(",") if chosen.only else [one.name for one in CONTESTANTS]
    contestants = by_names(["direct", *names])
    machine.raise_descriptor_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if chosen.realtime:
        machine.take_precedence()
    if chosen.awake:
        os.environ["BENCH_AWAKE"] = "1"
    plan = Plan(chosen.rounds, chosen.seconds)
    with machine.only_one():
        rows = measured(wanted, contestants, plan, chosen.model)
    finish(rows, [one.name for one in contestants], chosen.write_docs)


def measured(wanted: list[str], contestants: list[Contestant], plan: Plan, model: Path) -> list[Row]:
    """Takes the measures, one after another."""
    rows: list[Row] = []
    if STARTER in wanted:
        print(f"{STARTER} ...", file=sys.stderr, flush=True)
        rows += starter.starter(plan, model)
    if ENGINES in wanted:
        print(f"{ENGINES} ...", file=sys.stderr, flush=True)
        rows += engines.engines(plan)
    machine.leave_the_contestants_core()
    upstream = Upstream()
    try:
        for name in wanted:
            if name in (STARTER, ENGINES):
                continue
            print(f"{name} ...", file=sys.stderr, flush=True)
            with Field(contestants) as field:
                rows += MEASURES[name](field, upstream, plan)
    finally:
        upstream.close()
    return rows


def finish(rows: list[Row], contestants: list[str], write_docs: bool) -> None:
    """Prints and keeps the results."""
    day, where = datetime.now(UTC).date().isoformat(), f"{machine.description()}, {interpreter.version()}"
    print(report.text(rows, contestants))
    (machine.CACHE / "results.json").write_text(report.as_json(rows, where, day))
    block = report.markdown(rows, contestants, where, day)
    (machine.CACHE / "results.md").write_text(block + "\n")
    if write_docs:
        report.update_document(DOCUMENT, block)
    if any(row.target and report.verdict(row) in ("missed", "failed", "VOID") for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
