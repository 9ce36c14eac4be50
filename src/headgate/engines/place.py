"""Where an engine's program listens, and whom it lives for: its socket or port, its key, the gate that
started it. Shared by every engine; must not know what any of them serves.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from headgate.core.errors import SettingsError

PARENT_DIED = 1
"""prctl's PR_SET_PDEATHSIG (linux/prctl.h)."""

Command = TypeVar("Command", bound=Callable[..., Any])


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says about where to listen."""

    host: str = "127.0.0.1"
    port: int = 8080
    socket: Path | None = None
    api_key_env: str | None = None
    supervised: bool = False


def place_options(command: Command) -> Command:
    """The options of `Place`, the same for every engine."""
    for option in (
        click.option("--supervised", is_flag=True, hidden=True),
        click.option(
            "--api-key-env", metavar="NAME",
            help="Variable with the key clients must send.  [default: one is made]",
        ),
        click.option(
            "--socket", type=click.Path(path_type=Path), help="Listen on this Unix socket (*.sock) instead."
        ),
        click.option(
            "--port", type=click.IntRange(0, 65_535), default=8080,
            help="Port to listen on; 0 takes a free one.",
        ),
        click.option("--host", default="127.0.0.1", help="Address to listen on."),
    ):  # fmt: skip
        command = option(command)
    return command


def key_for_clients(variable: str | None) -> str:
    """The key that a port asks for: from the variable, or made and printed; raises SettingsError."""
    if variable is not None:
        key = os.environ.pop(variable, "")
        if not key:
            raise SettingsError(f"--api-key-env {variable}: the variable is not set")
        return key
    key = f"sk-{secrets.token_urlsafe(32)}"
    click.echo(f"clients must send this key, made for this start: {key}")
    return key


def make_way(path: Path) -> None:
    """Removes a socket that a dead process has left; raises SettingsError when the place is not free."""
    if path.suffix != ".sock":
        raise SettingsError(f"{path}: an engine takes a name for a Unix socket only when it ends in .sock")
    # The socket belongs to its owner alone, whatever its folder allows.
    os.umask(0o077)
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise SettingsError(f"{path}: exists and is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink()
        return
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    raise SettingsError(f"{path}: another process listens there")


def end_with_parent(path: Path | None) -> None:
    """Ends this process when the one that started it is gone, however that died.

    Standard input is a pipe from it, which works everywhere but not while the model loads; so on Linux the
    kernel is asked as well.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DIED, signal.SIGKILL)

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        if path is not None:
            path.unlink(missing_ok=True)
        os._exit(0)

    threading.Thread(target=wait, name="parent", daemon=True).start()
