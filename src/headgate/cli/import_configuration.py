"""`headgate import`: another gateway's configuration as one of ours. Knows none of them by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate.core.errors import SettingsError

if TYPE_CHECKING:
    from headgate.backends.importing import Draft, Secret

PRIVATE = 0o600


@click.command("import")
@click.argument("kind")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it.  [default: -]"
)
@click.option(
    "--keys", type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the keys that stand in the file, one in each. Without it they become variables to set.",
)  # fmt: skip
def command(kind: str, file: Path, output: Path | None, keys: Path | None) -> None:
    """Make a configuration of another gateway's.

    No key is written into it. What cannot be carried over is listed, on standard error and at the top.
    """
    from headgate.backends.importers import IMPORTERS

    importer = IMPORTERS.get(kind)
    if importer is None:
        raise click.UsageError(f"KIND is one of {', '.join(IMPORTERS)}")
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: not UTF-8") from None
    try:
        draft = importer.draft(importer.read(text))
    except SettingsError as error:
        raise SettingsError(f"{file}: {error}") from None
    secrets = draft.secrets()
    if keys is not None:
        _write_keys(secrets, keys)
        place = keys.absolute()
        made = draft.toml(lambda secret: {"file": str(place / secret.name)})
    else:
        made = draft.toml(lambda secret: {"env": secret.name})
        draft.notes += [f"set {secret.name} to the key that stood in {file.name}" for secret in secrets]
    made = _top(draft, file) + made
    if output is None:
        click.echo(made, nl=False)
    else:
        output.write_text(made, "utf-8")
    for note in draft.notes:
        print(f"headgate import: {note}", file=sys.stderr)


def _top(draft: Draft, file: Path) -> str:
    lines = [f"Made by `headgate import` of {file.name}."]
    if draft.notes:
        lines += ["", "To be seen to:", *(f"- {note}" for note in draft.notes)]
    return "".join(f"# {line}".rstrip() + "\n" for text in lines for line in text.splitlines() or [""]) + "\n"


def _write_keys(secrets: list[Secret], folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for secret in secrets:
        path = folder / secret.name
        # Nobody else may read it, not even for the moment between making and closing it.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE), "w") as out:
            os.fchmod(out.fileno(), PRIVATE)
            out.write(secret.value + "\n")
