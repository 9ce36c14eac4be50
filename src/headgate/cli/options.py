"""Options that several commands take: what is served, from where, and the data folder.

Knows no command; it only turns what was typed into what `configuration` reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from headgate.configuration import Sources

Command = TypeVar("Command", bound=Callable[..., Any])

data_option = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), envvar="HEADGATE_DATA", show_envvar=True,
    help="Folder for keys and the journal.  [default: ~/.local/share/headgate]",
)  # fmt: skip

config_option = click.option(
    "--config", type=click.Path(path_type=Path), envvar="HEADGATE_CONFIG", show_envvar=True,
    help="Configuration file (TOML).",
)  # fmt: skip


def places(command: Command) -> Command:
    """The options that say what is served and where; each may come from the environment instead."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    for option in (
        click.option("--tls-key", type=file, help="PEM private key of --tls-cert."),
        click.option("--tls-cert", type=file, help="PEM certificate chain: clients then speak TLS."),
        click.option("--model", type=file, multiple=True, help="A GGUF to serve, named after the file."),
        config_option,
        data_option,
        click.option(
            "--port", type=click.IntRange(0, 65_535), envvar="HEADGATE_PORT", show_envvar=True,
            help="Port to listen on; 0 takes a free one.  [default: 8000]",
        ),
        click.option(
            "--host", envvar="HEADGATE_HOST", show_envvar=True,
            help="Address to listen on.  [default: 127.0.0.1]",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def read_sources(
    *,
    host: str | None,
    port: int | None,
    config: Path | None,
    model: tuple[Path, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
) -> Sources:
    """What the options of `places` say, in the words of `configuration`."""
    from headgate.configuration import Sources

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together", click.get_current_context())
    return Sources(
        config_file=config,
        host=host,
        port=port,
        tls_cert_file=tls_cert,
        tls_key_file=tls_key,
        model_files=model,
    )


def data_folder(data: Path | None) -> Path:
    """The folder that was named, or the one that is taken when none was."""
    from headgate.configuration import default_data_folder

    return (data or default_data_folder(os.environ)).absolute()
