"""Whether everything that `headgate serve` needs is there, and how to get what is not.

Each check looks and changes nothing.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterable
from pathlib import Path

import msgspec

from headgate.app import tls_context
from headgate.configuration import Sources, load
from headgate.core.errors import SettingsError
from headgate.core.settings import Engine, Server, Settings
from headgate.engines.doctor import LIBRARIES, examine_libraries
from headgate.engines.doctor import examine as examine_engines
from headgate.store.keys import check_key


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    """What was found, in a few words."""
    advice: str = ""
    """What to do about it; empty when all is well."""
    needed: bool = True
    """Whether `headgate serve`, as it is configured, cannot do without."""


def examine(sources: Sources, data_folder: Path) -> list[Finding]:
    """Looks at everything, in the order in which `serve` would meet it."""
    findings = [Finding("python", True, platform.python_version())]
    settings: Settings | None = None
    try:
        settings = load(sources)
        models = ", ".join(settings.models())
        findings.append(Finding("configuration", True, f"serves {models}"))
    except SettingsError as error:
        findings.append(Finding("configuration", False, str(error), "correct it, then look again"))
    findings.append(_master_key())
    findings.append(_data_folder(data_folder))
    # What a broken configuration would have said is not known: then the defaults are looked at.
    server = settings.server if settings else Server()
    findings += _certificate(server)
    findings.append(_port(server))
    engines = settings.engines if settings else ()
    findings += _engines(needed=settings is None or any(engine.kind == "llamacpp" for engine in engines))
    findings += _libraries(engines)
    return findings


def _master_key() -> Finding:
    given = os.environ.get("HEADGATE_MASTER_KEY")
    if not given:
        return Finding("operator's key", True, "kept in the data folder, and made there on the first start")
    try:
        check_key(given)
    except SettingsError as error:
        return Finding("operator's key", False, str(error), "set another, or unset the variable")
    return Finding("operator's key", True, "HEADGATE_MASTER_KEY")


def _data_folder(folder: Path) -> Finding:
    # The folder is made on the first start; until then the nearest one that exists has to allow that.
    existing = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return Finding("data folder", True, str(folder))
    what = "cannot be written" if existing.is_dir() else "is not a folder"
    return Finding("data folder", False, f"{existing} {what}", "pass --data FOLDER, or set HEADGATE_DATA")


def _certificate(server: Server) -> list[Finding]:
    if not server.tls_cert_file:
        return []
    try:
        tls_context(server)
    except SettingsError as error:
        advice = "give a PEM certificate chain and the PEM key that belongs to it, without a password"
        return [Finding("certificate", False, str(error), advice)]
    return [Finding("certificate", True, server.tls_cert_file)]


def _port(server: Server) -> Finding:
    place = f"{server.host} port {server.port}"
    try:
        found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                # As the server does: connections that are just going away do not count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        return Finding("port", False, f"{place}: {error.strerror}", "pass another with --host and --port")
    return Finding("port", True, f"{place} is free")


def _engines(*, needed: bool) -> list[Finding]:
    return [Finding(found.name, found.ok, found.detail, found.advice, needed) for found in examine_engines()]


def _libraries(engines: Iterable[Engine]) -> list[Finding]:
    """What the configured engines in Python need, each library once."""
    found = {
        one.name: Finding(one.name, one.ok, one.detail, one.advice)
        for engine in engines
        if engine.kind in LIBRARIES
        for one in examine_libraries(engine.kind, has_model=engine.model is not None)
    }
    return list(found.values())
