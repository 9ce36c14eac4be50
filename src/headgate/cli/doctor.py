"""`headgate doctor`: says whether everything is there, to people or as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from headgate.cli.exits import RUNTIME_ERROR
from headgate.cli.options import data_folder, places, read_sources


@click.command("doctor")
@places
@click.option("--json", "as_json", is_flag=True, help="Findings as JSON.")
def command(as_json: bool, data: Path | None, **options: Any) -> None:
    """Look whether everything that `serve` needs is there, and say how to get what is not."""
    import msgspec

    from headgate.doctor import examine

    findings = examine(read_sources(**options), data_folder(data))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(findings), indent=2, ensure_ascii=False))
    else:
        for found in findings:
            click.echo(f"{'ok' if found.ok else 'missing':9}{found.name}: {found.detail}")
            if not found.ok:
                needed = "" if found.needed else " (not needed as configured)"
                click.echo(f"{'':9}{found.advice}{needed}")
    sys.exit(RUNTIME_ERROR if any(found.needed and not found.ok for found in findings) else 0)
