"""The composition root of an engine's own process: joins one engine with the edge's HTTP server.

`python -m headgate.hosting NAME ...` and `headgate engine NAME ...` both come here. The gate is not loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys
from functools import partial
from types import ModuleType

import click
import uvloop

from headgate.core.errors import HeadgateError, SettingsError
from headgate.core.settings import Server as ServerSettings
from headgate.edge.connection import Connection
from headgate.edge.limits import BACKLOG
from headgate.edge.route import Route, Routes
from headgate.edge.server import Server
from headgate.engines.place import key_for_clients
from headgate.engines.program import Door, Program

HOSTED = ("embed", "image", "speech", "transcribe")
"""The engines that are written in Python, by the names of their modules in `headgate.engines`."""

SETTINGS = ServerSettings(
    cors_origins=(),
    idle_timeout_ms=600_000,  # longer than any pool before it keeps a connection
    grace_ms=5_000,  # the gate has ended its streams before it stops an engine
)


def main(arguments: list[str]) -> int:
    """Runs one engine until a signal says stop; returns the exit code."""
    name, *options = arguments
    engine: ModuleType = importlib.import_module(f"headgate.engines.{name}")
    prog = f"headgate engine {name}"
    try:
        program = engine.command.main(args=options, prog_name=prog, standalone_mode=False)
        if isinstance(program, Program):  # else it was asked for help
            uvloop.run(_serve(program))
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except HeadgateError as error:
        click.echo(f"{prog}: {error}", err=True)
        return 1
    except (KeyboardInterrupt, click.Abort):
        return 128 + signal.SIGINT
    return 0


async def _serve(program: Program) -> None:
    options = program.options
    door = Door(options, None if options.socket else key_for_clients(options.api_key_env))
    server = Server(
        Routes(
            [
                Route("GET", "/health", door.health),
                Route("GET", "/v1/models", door.models),
                *(
                    Route("POST", service.path, partial(door.serve, service), service.body_limit_bytes)
                    for service in program.services
                ),
            ]
        ),
        SETTINGS,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listener: asyncio.AbstractServer | None = None
    try:
        if options.socket:
            path = str(options.socket)
            listener = await loop.create_unix_server(lambda: Connection(server), path, backlog=BACKLOG)
            place = path
        else:
            host, port = await server.listen(options.host, options.port)
            place = f"http://{host}:{port}"
    except OSError as error:
        raise SettingsError(f"cannot listen: {error.strerror or error}") from None
    click.echo(f"listening on {place}")
    sys.stdout.flush()
    await stop.wait()
    if listener is not None:
        listener.close()
    await server.stop(SETTINGS.grace_ms / 1000)
    if options.socket:
        with contextlib.suppress(FileNotFoundError):
            options.socket.unlink()
    # Threads of a library that still compute would keep the process: nobody waits for them any more.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
