"""`headgate upstreams`: which there are, whether each one works, and how they are doing in a running gate."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.exits import RUNTIME_ERROR
from headgate.cli.options import config_option
from headgate.core.errors import HeadgateError, SettingsError

if TYPE_CHECKING:
    from headgate.core.settings import Settings, Upstream
    from headgate.trial.ask import Trial

LIMIT_MS = 30_000
"""How long a trial waits for one thing: a cold model on a slow disk may need more, and can be given it."""

json_option = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@click.group("upstreams", no_args_is_help=False)
def command() -> None:
    """Who answers for the gate: what is configured, whether it works, how it is doing."""


@command.command("list")
@config_option
@json_option
def list_(config: Path | None, as_json: bool) -> None:
    """The upstreams of the configuration: where they are, what they speak, where their keys are from."""
    found = [_described(upstream) for upstream in _settings(config).upstreams]
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for one in found:
        click.echo(f"{one['name']:20} {one['dialect']:10} {one['base_url']}")
        click.echo(f"{'':20} key: {', '.join(one['keys']) or 'none'}; models: {', '.join(one['models'])}")
    if not found:
        click.echo("no upstreams are configured")


def _described(upstream: Upstream) -> dict[str, Any]:
    keys = upstream.api_keys or ((upstream.api_key,) if upstream.api_key is not None else ())
    return {
        "name": upstream.name,
        "provider": upstream.provider,
        "dialect": upstream.dialect,
        "base_url": upstream.base_url,
        "keys": [key.origin for key in keys],
        "models": [model.name for model in upstream.models],
    }


@command.command("test")
@config_option
@click.option("--model", help="The model to ask for, as clients call it.  [default: each upstream's first]")
@click.option(
    "--timeout-ms", type=click.IntRange(1), default=LIMIT_MS, help="How long to wait for one thing."
)
@click.option("--embeddings", is_flag=True, help="Ask for vectors, of models that do not talk.")
@json_option
@click.argument("names", nargs=-1)
def test(
    config: Path | None,
    model: str | None,
    timeout_ms: int,
    embeddings: bool,
    as_json: bool,
    names: tuple[str, ...],
) -> None:
    """Send each upstream a real, tiny request, whole and streamed, and say what is wrong.

    NAMES are those of the upstreams to test; all of them without any.
    """
    import asyncio

    import msgspec
    import uvloop

    from headgate.trial.ask import try_upstream

    chosen = _chosen(_settings(config), names, model)

    async def run() -> list[Trial]:
        each = await asyncio.gather(
            *(try_upstream(*one, limit_ms=timeout_ms, embeddings=embeddings) for one in chosen)
        )
        return [trial for trials in each for trial in trials]

    trials = uvloop.run(run())
    if as_json:
        click.echo(json.dumps([msgspec.to_builtins(one) | {"ok": one.ok} for one in trials], indent=2))
    else:
        for trial in trials:
            click.echo(_shown(trial))
    sys.exit(RUNTIME_ERROR if any(not trial.ok for trial in trials) else 0)


def _chosen(settings: Settings, names: tuple[str, ...], model: str | None) -> list[tuple[Any, Any]]:
    """Upstreams with the model to ask each for; raises SettingsError."""
    known = {upstream.name: upstream for upstream in settings.upstreams}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SettingsError(f'no upstream is called "{unknown[0]}"; there are: {", ".join(known) or "none"}')
    chosen = []
    for name in names or known:
        entry = _entry(known[name], model)
        if entry is not None:
            chosen.append((known[name], entry))
    if not chosen:
        what = f'no upstream has a model "{model}"' if model else "no upstreams are configured"
        raise SettingsError(what)
    return chosen


def _entry(upstream: Upstream, wanted: str | None) -> Any:
    """The entry of `models` to ask for; None where the wanted one is not served there."""
    from fnmatch import fnmatchcase

    import msgspec

    for entry in upstream.models:
        if wanted is None and "*" not in entry.name:
            return entry
        if wanted is not None and fnmatchcase(wanted, entry.name):
            before, _, after = entry.name.partition("*")
            stands_for = wanted[len(before) : len(wanted) - len(after)] if "*" in entry.name else ""
            sent_as = entry.sent_as.replace("*", stands_for)
            return msgspec.structs.replace(entry, name=wanted, upstream_name=sent_as)
    if wanted is None:
        raise SettingsError(f'upstream "{upstream.name}" names its models with a *: say which, with --model')
    return None


def _shown(trial: Trial) -> str:
    times = [f"whole {trial.whole_ms} ms" if trial.whole_ms is not None else ""]
    times.append(f"stream {trial.stream_ms} ms" if trial.stream_ms is not None else "")
    with_key = f", key from {trial.key}" if trial.key else ""
    lines = [f"{'ok' if trial.ok else 'FAILS':6} {trial.upstream} ({trial.model}{with_key})"]
    if trial.ok:
        lines[0] += ": " + ", ".join(filter(None, times))
    for finding in trial.findings:
        if finding.advice:
            lines += [f"       {finding.step}: {finding.detail}", f"       -> {finding.advice}"]
    return "\n".join(lines)


@command.command("status")
@click.option("--url", envvar="HEADGATE_URL", show_envvar=True, default="http://127.0.0.1:8000",
              help="Where the gate is.")  # fmt: skip
@json_option
def status(url: str, as_json: bool) -> None:
    """How the upstreams of a running gate are doing.

    The operator's key is taken from HEADGATE_KEY or HEADGATE_MASTER_KEY.
    """
    found = _fetch(url.rstrip("/") + "/admin/v1/health")
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for one in found["targets"]:
        state = one["breaker"] if not one["resting_ms"] else f"rests for {one['resting_ms'] / 1000:.0f} s"
        click.echo(
            f"{one['target']:20} {one['model']:28} {state:10} {one['in_flight']} in flight, {one['waiting']} "
            f"waiting, {one['failures']} of {one['requests']} failed"
        )


def _fetch(url: str) -> Any:
    from http.client import HTTPConnection, HTTPException, HTTPSConnection
    from urllib.parse import urlsplit

    key = os.environ.get("HEADGATE_KEY") or os.environ.get("HEADGATE_MASTER_KEY")
    if not key:
        raise SettingsError("HEADGATE_KEY is not set: the operator's key is needed to ask a running gate")
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise SettingsError("--url: expected an address that begins with http:// or https://")
    make = HTTPSConnection if place.scheme == "https" else HTTPConnection
    # Not a client that follows redirects: the key is for this address alone.
    connection = make(place.hostname, place.port, timeout=LIMIT_MS / 1000)
    try:
        connection.request("GET", place.path, headers={"authorization": f"Bearer {key}"})
        reply = connection.getresponse()
        body = reply.read()
        if reply.status in (401, 403):
            raise HeadgateError(f"{url}: the key is not the operator's")
        if reply.status != 200:
            raise HeadgateError(f"{url}: answers {reply.status}: is that a gate?")
        return json.loads(body)
    except (OSError, HTTPException, ValueError) as error:
        raise HeadgateError(f"{url}: no gate answers there: {error}") from None
    finally:
        connection.close()


def _settings(config: Path | None) -> Settings:
    from headgate.configuration import Sources, load

    return load(Sources(config_file=config))
