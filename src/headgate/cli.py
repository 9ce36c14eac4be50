"""The `headgate` command: reads the command line, calls what does the work, and words what went wrong.

Each command imports what it needs when it runs: an engine's process never loads the gate, nor the gate an
engine.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headgate import __version__
from headgate.core.errors import HeadgateError, SettingsError

if TYPE_CHECKING:
    from headgate.app import Announcement
    from headgate.configuration import Sources
    from headgate.core.settings import Settings

USAGE_ERROR = 2
"""Exit code when the command line or the configuration is wrong, as click has it."""
RUNTIME_ERROR = 1
INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

ENGINES = ("llamacpp",)
SAMPLE_MODEL = "gpt-3.5-turbo"
"""The model in the reference page's sample."""

Command = TypeVar("Command", bound=Callable[..., Any])


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


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="headgate")
@click.pass_context
def commands(context: click.Context) -> None:
    """One OpenAI-compatible front door for any number of upstreams, and for models of its own."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def places(command: Command) -> Command:
    """The options that say what is served and where; each may come from the environment instead."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    for option in (
        click.option("--tls-key", type=file, help="PEM private key of --tls-cert."),
        click.option("--tls-cert", type=file, help="PEM certificate chain: clients then speak TLS."),
        click.option("--model", type=file, multiple=True, help="A GGUF to serve, named after the file."),
        click.option(
            "--config", type=click.Path(path_type=Path), envvar="HEADGATE_CONFIG", show_envvar=True,
            help="Configuration file (TOML).",
        ),
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


data_option = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), envvar="HEADGATE_DATA", show_envvar=True,
    help="Folder for keys and the journal.  [default: ~/.local/share/headgate]",
)  # fmt: skip


def _sources(
    *,
    host: str | None,
    port: int | None,
    config: Path | None,
    model: tuple[Path, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
) -> Sources:
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


def _data_folder(data: Path | None) -> Path:
    from headgate.configuration import default_data_folder

    return (data or default_data_folder(os.environ)).absolute()


@commands.command()
@places
@click.option("--workers", type=click.IntRange(1), default=1, help="Processes; one is all there can be yet.")
def serve(workers: int, data: Path | None, **options: Any) -> None:
    """Open the gate.

    Without a configuration it serves the starter model, so that the samples of the reference page run.
    """
    if workers > 1:
        raise SettingsError(
            f"--workers {workers} needs shared counters (Redis/Valkey), which this version does not have; "
            "one process serves thousands of requests a second"
        )
    import logging

    from headgate.app import serve as open_gate
    from headgate.configuration import load

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    sources = _sources(**options)
    settings = load(sources)

    def announce(announcement: Announcement) -> None:
        click.echo(greeting(settings, announcement))

    open_gate(
        settings,
        _data_folder(data),
        os.environ.get("HEADGATE_MASTER_KEY") or None,
        announce=announce,
        reload=lambda: load(sources),
    )


def greeting(settings: Settings, announcement: Announcement) -> str:
    """What an operator reads when the gate is open: address, key if it is new, and a request to paste."""
    server = settings.server
    # Who listens on every address is reached on this machine's own.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)
    host = f"[{host}]" if ":" in host else host
    url = f"{'https' if server.tls_cert_file else 'http'}://{host}:{announcement.port}"
    lines = [f"Headgate is open at {url}", ""]
    if announcement.new_master_key:
        lines += ["The operator's key, shown this once and kept only as a hash:", ""]
        lines += [f"    {announcement.new_master_key}", ""]
    with_key = "" if announcement.new_master_key else ", with the operator's key in HEADGATE_KEY"
    lines += [f"Try it{with_key}:", "", sample(settings, url, announcement.new_master_key), ""]
    return "\n".join(lines)


def sample(settings: Settings, url: str, key: str | None) -> str:
    """The reference page's own request, ready to paste; without a key the shell fills in $HEADGATE_KEY."""
    served = [*settings.models(), *settings.aliases]
    model = SAMPLE_MODEL if SAMPLE_MODEL in served else served[0]
    body = {
        "model": model,
        "stream": True,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Hello!"},
        ],
    }
    text = json.dumps(body, indent=4, ensure_ascii=False).replace("'", "'\\''")
    # The shell looks into double quotes, not into single ones.
    authorization = f"'Authorization: Bearer {key}'" if key else '"Authorization: Bearer $HEADGATE_KEY"'
    return (
        f"curl --location --request POST '{url}/v1/chat/completions' \\\n"
        "--header 'Accept: application/json' \\\n"
        f"--header {authorization} \\\n"
        "--header 'Content-Type: application/json' \\\n"
        f"--data-raw '{text}'"
    )


@commands.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", type=click.Choice(ENGINES))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def engine(name: str, arguments: tuple[str, ...]) -> None:
    """Run one engine alone, without the gate.

    What follows its NAME is the engine's own: `headgate engine llamacpp --help`.
    """
    if name == "llamacpp":
        from headgate.engines.llamacpp import main as run

        sys.exit(run(list(arguments)))


@commands.group(no_args_is_help=False)
def keys() -> None:
    """The keys that open the gate."""


@keys.command()
@click.option("--rotate", is_flag=True, help="Make a new key, show it once, and let the old one go.")
@data_option
def master(rotate: bool, data: Path | None) -> None:
    """The operator's key.

    It is kept hashed, so it cannot be shown again: when it is lost, rotate it. A running gate takes the new
    one within a second.
    """
    if not rotate:
        raise click.UsageError("the key is kept hashed and cannot be shown; --rotate makes a new one")
    if os.environ.get("HEADGATE_MASTER_KEY"):
        raise SettingsError("HEADGATE_MASTER_KEY is set, and it is the operator's key then: change it there")
    from headgate.store import keys as store
    from headgate.store.folder import make_private

    folder = _data_folder(data)
    make_private(folder)
    click.echo(store.rotate(folder))


@commands.command()
@places
@click.option("--json", "as_json", is_flag=True, help="Findings as JSON.")
def doctor(as_json: bool, data: Path | None, **options: Any) -> None:
    """Look whether everything that `serve` needs is there, and say how to get what is not."""
    import msgspec

    from headgate.doctor import examine

    findings = examine(_sources(**options), _data_folder(data))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(findings), indent=2, ensure_ascii=False))
    else:
        for found in findings:
            click.echo(f"{'ok' if found.ok else 'missing':9}{found.name}: {found.detail}")
            if not found.ok:
                needed = "" if found.needed else " (not needed as configured)"
                click.echo(f"{'':9}{found.advice}{needed}")
    sys.exit(RUNTIME_ERROR if any(found.needed and not found.ok for found in findings) else 0)
