"""The program behind `headgate engine llamacpp`: llama.cpp's server for one model, through xllamacpp.

It speaks llama.cpp's own dialect of OpenAI's format; what has to be corrected in that is not done here
(`dialects/llamacpp.py`). Must not know the gate, which may or may not have started it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from headgate.core.errors import HeadgateError, SettingsError
from headgate.engines.gguf import inspect_model, inspect_projector
from headgate.engines.place import Place, end_with_parent, key_for_clients, make_way, place_options

LARGEST_DEFAULT_CONTEXT = 8192
"""Tokens per slot where nobody says: a model trained on 128 Ki would take gigabytes for a short talk."""


class Options(Place, frozen=True, kw_only=True):
    """What the command line says."""

    model: Path
    mmproj: Path | None = None
    alias: str | None = None
    embeddings: bool = False
    slots: int = 4
    context: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None


@click.command(
    name="llamacpp", context_settings={"show_default": True, "help_option_names": ["-h", "--help"]}
)
@click.option("--model", type=click.Path(path_type=Path), required=True, help="The model's file (GGUF).")
@click.option("--mmproj", type=click.Path(path_type=Path), help="The file with its eyes (GGUF).")
@click.option("--alias", help="What replies call the model.  [default: the file's name]")
@click.option("--embeddings", is_flag=True, help="The model makes vectors instead of text.")
@place_options
@click.option("--slots", type=click.IntRange(1, 256), default=4, help="Requests answered at once.")
@click.option(
    "--context",
    type=click.IntRange(64),
    help="Context of each slot in tokens.  [default: the model's own, at most 8192]",
)
@click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads.  [default: all cores but one]")
@click.option(
    "--gpu-layers", type=click.IntRange(0), help="Layers on the GPU.  [default: all, where there is one]"
)
def command(**options: Any) -> None:
    """Serve one GGUF with llama.cpp, in llama.cpp's own dialect.

    A port asks every client for a key; a Unix socket is open to its owner alone.
    """
    run(Options(**options))


def main(arguments: list[str]) -> int:
    """Runs the program until it is killed; returns the exit code when it cannot start."""
    try:
        command.main(args=arguments, prog_name="headgate engine llamacpp", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except HeadgateError as error:
        click.echo(f"headgate engine llamacpp: {error}", err=True)
        return 1
    except (KeyboardInterrupt, click.Abort):
        return 128 + signal.SIGINT
    return 0


def run(options: Options) -> None:
    """Loads the model and serves it until the process is killed; raises SettingsError when it cannot."""
    model = inspect_model(options.model)
    if options.mmproj is not None:
        inspect_projector(options.mmproj)
    if options.supervised:
        end_with_parent(options.socket)
    # Python's handlers run only between bytecodes, and loading may be one long call: let the kernel do it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    context = options.context or min(model.context_tokens or LARGEST_DEFAULT_CONTEXT, LARGEST_DEFAULT_CONTEXT)
    key = None if options.socket else key_for_clients(options.api_key_env)
    if options.socket:
        make_way(options.socket)
    xllamacpp = _load_library()
    parameters = _parameters(xllamacpp, options, context)
    if options.embeddings:
        _make_vectors(xllamacpp, parameters, context, pools=model.pools)
    if key is not None:
        parameters.api_keys = [key]
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError:
        raise SettingsError(f"llama.cpp cannot serve {options.model}: see the lines above") from None
    click.echo(f"listening on {server.listening_address}")
    sys.stdout.flush()
    while True:
        signal.pause()


def _make_vectors(xllamacpp: Any, parameters: Any, context: int, *, pools: bool) -> None:
    parameters.embedding = True
    # A text has to fit into one batch: its tokens see each other both ways.
    parameters.n_batch = parameters.n_ubatch = max(context, parameters.n_ubatch)
    if not pools:
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN


def _load_library() -> Any:
    # Threads that spin while they wait took a model from 5,500 to 50 tokens/s on busy cores (two of them).
    # libgomp reads this once, when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import xllamacpp
    except ImportError as error:
        if "libgomp" in str(error):
            raise SettingsError("llama.cpp needs libgomp.so.1: apt-get install libgomp1") from None
        raise SettingsError(f"xllamacpp is missing: pip install 'headgate[llamacpp]' ({error})") from None
    return xllamacpp


def _parameters(xllamacpp: Any, options: Options, context: int) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(options.model)
    if options.mmproj is not None:
        parameters.mmproj.path = str(options.mmproj)
    # Without an alias replies would show the file's path.
    parameters.model_alias = {options.alias or options.model.stem}
    parameters.hostnames = [str(options.socket) if options.socket else options.host]
    parameters.port = options.port
    parameters.n_parallel = options.slots
    parameters.n_ctx = context * options.slots
    threads = options.threads or max(1, (os.cpu_count() or 2) - 1)
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    if options.gpu_layers is not None:
        parameters.n_gpu_layers = options.gpu_layers
    # It would choose context and layers anew, by what memory is free just now.
    parameters.fit_params = False
    # A last message of the assistant's is a message like any other, as OpenAI has it, and not a beginning.
    parameters.prefill_assistant = False
    # Prompts kept in memory beside the slots' own, 8 GiB of them by default.
    parameters.cache_ram_mib = 0
    parameters.cache_idle_slots = False
    # Nothing but what the gate asks for: no pages, no browsers, no look into other people's prompts.
    parameters.ui = False
    parameters.cors_origins = ""
    parameters.cors_credentials = False
    parameters.endpoint_slots = False
    parameters.endpoint_metrics = True
    # Errors only: its warnings tell of every request that reuses a prompt.
    parameters.verbosity = 1
    return parameters


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
