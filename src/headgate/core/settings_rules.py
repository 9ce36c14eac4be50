"""What must hold between settings, and what the starter and the command line add to them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network

import msgspec

from headgate.core.address import parse_base_url
from headgate.core.secret import MaybeSecret
from headgate.core.settings import Engine, File, Settings, Upstream
from headgate.core.settings_engines import check_engine
from headgate.core.settings_identity import check_identity
from headgate.core.settings_models import Wrong, check_models, fits, guess
from headgate.core.settings_words import REFERENCE
from headgate.core.toml_lines import Path

STARTER_NAME = "starter-chat"
STARTER_ALIASES = ("gpt-3.5-turbo", "gpt-3.5-turbo-instruct", "gpt-4o", "gpt-4o-mini")
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


def complete(
    settings: Settings,
    starter: File | None,
    extra_engines: Sequence[Engine],
    starters: Sequence[tuple[Engine, Sequence[str]]] = (),
) -> Settings:
    """Adds the engines of the command line and the starters, with their aliases while there is no upstream.

    A starter steps aside for a model that was given its name.
    """
    engines, aliases = list(settings.engines), dict(settings.aliases)
    taken = settings.models().keys() | aliases.keys() | {upstream.name for upstream in settings.upstreams}
    for engine in extra_engines:
        if engine.name in taken:
            raise Wrong((), f'--model: the name "{engine.name}", which the file gives, is already taken')
        engines.append(engine)
        taken |= {engine.name}
    if starter is not None:
        chat = Engine(name=STARTER_NAME, model=starter)
        starters = [(chat, STARTER_ALIASES), *starters]
    for engine, names in starters if settings.starter.enabled else ():
        if engine.name not in taken:
            engines.append(engine)
            if not settings.upstreams:
                aliases |= {alias: engine.name for alias in names if alias not in taken}
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
    _check_proxies(server.trusted_proxies)
    for name, value in settings.telemetry.otlp_headers.items():
        place: Path = ("telemetry", "otlp_headers", name)
        if not _TOKEN.fullmatch(name):
            raise Wrong(place, "not a header's name")
        _check_credential(name, value, place)
    for index, upstream in enumerate(settings.upstreams):
        _check_upstream(upstream, ("upstream", index))
    for index, price in enumerate(settings.prices):
        try:
            price.of_time()
        except ValueError as error:
            raise Wrong(("price", index), f"a moment that does not exist: {error}") from None
    for index, engine in enumerate(settings.engines):
        check_engine(engine, ("engine", index))
    _check_names(settings)
    served = check_models(settings)
    _check_aliases(settings, served, starter_installed=starter_installed)
    if not served:
        raise Wrong(
            (),
            "nothing to serve: configure an [[upstream]] or an [[engine]], pass --model FILE, or install "
            f"the starter model: {STARTER_INSTALL}",
        )


def _check_proxies(networks: Sequence[str]) -> None:
    for index, network in enumerate(networks):
        try:
            ip_network(network)
        except ValueError:
            path = ("server", "trusted_proxies", index)
            raise Wrong(path, "expected a network such as 10.0.0.0/8") from None


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

    if upstream.identity is not None:
        if upstream.api_key is not None or upstream.api_keys:
            raise Wrong((*path, "identity"), "an upstream has a key or an identity, not both")
        check_identity(upstream.identity, (*path, "identity"))
    if upstream.api_key is not None and upstream.api_keys:
        raise Wrong((*path, "api_keys"), "`api_key` is here too: write all keys into `api_keys`")
    if upstream.queue and upstream.max_in_flight is None:
        raise Wrong((*path, "queue"), "nobody waits in it without a `max_in_flight`")


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


def _check_aliases(settings: Settings, models: Mapping[str, str], *, starter_installed: bool) -> None:
    for alias, target in settings.aliases.items():
        path = ("aliases", alias)
        if alias in models:
            raise Wrong(path, f"{models[alias]} serves a model of this name")
        if target in models or any(fits(name, target) for name in models):
            continue
        if target in settings.aliases:
            raise Wrong(path, f'"{target}" is an alias itself; expected the name of a model')
        hint = guess(target, models)
        if target == STARTER_NAME and not starter_installed:
            hint = f"; it comes with the package headgate-starter: {STARTER_INSTALL}"
        elif target == STARTER_NAME:
            hint = ", since [starter] enabled = false"
        raise Wrong(path, f'no model is named "{target}"{hint}')
