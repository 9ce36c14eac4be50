"""The `headgate` command: the table of its commands, and what a person reads when one fails.

A command is a file here with one `command`, and a line in COMMANDS. It imports what it needs when it runs: an
engine's process never loads the gate, nor the gate an engine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from headgate import __version__
from headgate.cli import (
    backup,
    doctor,
    engine,
    import_configuration,
    keys,
    migrate,
    prices,
    serve,
    teams,
    upstreams,
    usage,
)
from headgate.cli.exits import INTERRUPTED, RUNTIME_ERROR, USAGE_ERROR
from headgate.core.errors import HeadgateError, SettingsError

COMMANDS: tuple[click.Command, ...] = (
    backup.command,
    doctor.command,
    engine.command,
    import_configuration.command,
    keys.command,
    migrate.command,
    prices.command,
    serve.command,
    teams.command,
    upstreams.command,
    usage.command,
)
"""Every command, in the order of the alphabet, as `headgate --help` shows them."""


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="headgate")
@click.pass_context
def commands(context: click.Context) -> None:
    """One OpenAI-compatible front door for any number of upstreams, and for models of its own."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in COMMANDS:
    commands.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and ends the process: 0, 1 after a failure, 2 for wrong usage or configuration."""
    try:
        sys.exit(commands.main(args=arguments, prog_name="headgate", standalone_mode=False))
    except click.UsageError as error:
        helper = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        _fail(error.format_message() + helper, USAGE_ERROR)
    except click.ClickException as error:
        _fail(error.format_message(), RUNTIME_ERROR)
    except SettingsError as error:
        _fail(str(error), USAGE_ERROR)
    except HeadgateError as error:
        _fail(str(error), RUNTIME_ERROR)
    except BrokenPipeError:
        # Whoever read our output (`| head`) has left; the interpreter must not try to flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(RUNTIME_ERROR)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), RUNTIME_ERROR)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)


def _fail(message: str, code: int) -> None:
    print(f"headgate: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
