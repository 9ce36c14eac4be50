"""What must hold between settings, and what the starter and the command line add to them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from headgate.core.address import parse_base_url
from headgate.core.secret import MaybeSecret
from headgate.core.settings import Engine, File, Settings, Upstream
from headgate.core.settings_words import REFERENCE
from headgate.core.toml_lines import Path

STARTER_NAME = "starter-chat"
STARTER_ALIASES = ("gpt-3.5-turbo", "gpt-4o", "gpt-4o-mini")
"""What the reference page's samples and most clients ask for by default."""
STARTER_INSTALL = "pip install 'headgate[starter]'"

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+")
_FRAMING = frozenset(
    {"connection", "content-length", "content-type", "expect", "host", "keep-alive", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
"""Headers that the pool writes itself; a second one would break the request, or smuggle another."""
CREDENTIALS = frozenset(
    {"access_token", "api-key", "api_key", "apikey", "authorization", "cookie", "key", "proxy-authorization"}
    | {"token", "x-api-key", "x-goog-api-key"}
)
"""Headers and query fields that carry keys, which may not be written into the configuration."""


class Wrong(Exception):
    """One thing is wrong at `path`; becomes a SettingsError as soon as its line is known."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


def complete(settings: Settings, starter: File | None, extra_engines: Sequence[Engine]) -> Settings:
    """Adds the engines of the command line and the starter, with its aliases while there is no upstream.

    The starter steps aside for a model that was given its name.
    """
    engines, aliases = list(settings.engines), dict(settings.aliases)
    taken = settings.models().keys() | aliases.keys() | {upstream.name for upstream in settings.upstreams}
    for engine in extra_engines:
        if engine.name in taken:
            raise Wrong((), f'--model: the name "{engine.name}", which the file gives, is already taken')
        engines.append(engine)
        taken |= {engine.name}
    if starter is not None and settings.starter.enabled and STARTER_NAME not in taken:
        engines.append(Engine(name=STARTER_NAME, model=starter))
        if not settings.upstreams:
            aliases |= {alias: STARTER_NAME for alias in STARTER_ALIASES if alias not in taken}
    return msgspec.structs.replace(settings, engines=tuple(engines), aliases=aliases)


def check(settings: Settings, *, starter_installed: bool) -> None:
    """Raises Wrong for the first setting that cannot stand beside the others."""
    server = settings.server
    if bool(server.tls_cert_file) != bool(server.tls_key_file):
        missing = "tls_key_file" if server.tls_cert_file else "tls_cert_file"
        raise Wrong(("server",), f"`{missing}` is missing: TLS takes a certificate and its key")
    for index, origin in enumerate(server.cors_origins):
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            path = ("server", "cors_origins", index)
            raise Wrong(path, 'expected "*" or an origin such as "https://example.com", without a path')
    for name, value in settings.telemetry.otlp_headers.items():
        place: Path = ("telemetry", "otlp_headers", name)
        if not _TOKEN.fullmatch(name):
            raise Wrong(place, "not a header's name")
        _check_credential(name, value, place)
    for index, upstream in enumerate(settings.upstreams):
        _check_upstream(upstream, ("upstream", index))
    _check_names(settings)
    models = _check_models(settings)
    _check_aliases(settings, models, starter_installed=starter_installed)
    if not models:
        raise Wrong(
            (),
            "nothing to serve: configure an [[upstream]] or an [[engine]], pass --model FILE, or install "
            f"the starter model: {STARTER_INSTALL}",
        )


def _check_upstream(upstream: Upstream, path: Path) -> None:
    try:
        parse_base_url(upstream.base_url)
    except ValueError as error:
        raise Wrong((*path, "base_url"), str(error)) from None
    for name, value in upstream.headers.items():
        if not _TOKEN.fullmatch(name):
            raise Wrong((*path, "headers", name), "not a header's name")
        if name.lower() in _FRAMING:
            raise Wrong((*path, "headers", name), "the gate writes this header itself")
        _check_credential(name, value, (*path, "headers", name))
    lower_names = [name.lower() for name in upstream.headers]
    for name in upstream.headers:
        if lower_names.count(name.lower()) > 1:
            raise Wrong((*path, "headers", name), "this header is here twice: upper and lower case are one")
    for name, value in upstream.query.items():
        _check_credential(name, value, (*path, "query", name))


def _check_credential(name: str, value: MaybeSecret, path: Path) -> None:
    if name.lower() in CREDENTIALS and value.origin == "text":
        raise Wrong(path, f"a key is never written into the configuration; expected {REFERENCE}")


def _check_names(settings: Settings) -> None:
    owners: dict[str, str] = {}
    named: list[tuple[str, int, str]] = [("upstream", *entry) for entry in _numbered(settings.upstreams)]
    named += [("engine", *entry) for entry in _numbered(settings.engines)]
    for kind, index, name in named:
        if name in owners:
            raise Wrong((kind, index, "name"), f'an {owners[name]} is called "{name}" already')
        owners[name] = kind


def _numbered(entries: Iterable[Upstream | Engine]) -> list[tuple[int, str]]:
    return [(index, entry.name) for index, entry in enumerate(entries)]


def _check_models(settings: Settings) -> Mapping[str, str]:
    served: dict[str, str] = {}
    for path, name, owner in _offers(settings):
        if name in served:
            raise Wrong(
                path,
                f'the model "{name}" is already served by {served[name]}, and a model has one place: '
                f'rename one of them, as in {{ name = "another", upstream_name = "{name}" }}',
            )
        served[name] = owner
    return served


def _offers(settings: Settings) -> Iterator[tuple[Path, str, str]]:
    for index, upstream in enumerate(settings.upstreams):
        for place, model in enumerate(upstream.models):
            yield ("upstream", index, "models", place, "name"), model.name, f'upstream "{upstream.name}"'
    for index, engine in enumerate(settings.engines):
        yield ("engine", index, "name"), engine.name, f'engine "{engine.name}"'


def _check_aliases(settings: Settings, models: Mapping[str, str], *, starter_installed: bool) -> None:
    for alias, target in settings.aliases.items():
        path = ("aliases", alias)
        if alias in models:
            raise Wrong(path, f"{models[alias]} serves a model of this name")
        if target in models:
            continue
        if target in settings.aliases:
            raise Wrong(path, f'"{target}" is an alias itself; expected the name of a model')
        hint = _guess(target, models)
        if target == STARTER_NAME and not starter_installed:
            hint = f"; it comes with the package headgate-starter: {STARTER_INSTALL}"
        elif target == STARTER_NAME:
            hint = ", since [starter] enabled = false"
        raise Wrong(path, f'no model is named "{target}"{hint}')


def _guess(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""
