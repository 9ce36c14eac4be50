"""Rows of services that are known by name, and what one of them fills in where an upstream says nothing.

Must not know the rows: they are handed in.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from headgate.core.quirks import Quirks
from headgate.core.settings_models import Wrong
from headgate.core.settings_rules import CREDENTIALS
from headgate.core.toml_lines import Path


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One service: where it is, what it speaks, and where its key is looked for."""

    name: str
    """What an operator writes under `provider`."""
    title: str
    """What people call it."""
    base_url: str
    dialect: str = "openai"
    key_variables: tuple[str, ...] = ()
    """Environment variables for its key, the first that is set counts; none where no key is needed."""
    documents: str
    """The page that its base URL and its departures are taken from."""
    quirks: Quirks = Quirks()


PROOFS = frozenset({"api_key", "api_keys", "identity"})
"""Settings with which an upstream brings a key of its own, or something in place of one."""

Providers = Mapping[str, Provider]
"""Providers by name."""


def fill_in(document: dict[str, Any], providers: Providers, is_set: Callable[[str], bool]) -> None:
    """Completes every `[[upstream]]` that names a provider; what the table says itself stays as it is.

    `is_set` tells of an environment variable. Raises Wrong for a provider nobody knows, and for a key that is
    nowhere to be found. What has the wrong type is left for the types to judge.
    """
    upstreams = document.get("upstream")
    for index, upstream in enumerate(upstreams if isinstance(upstreams, list) else ()):
        name = upstream.get("provider") if isinstance(upstream, dict) else None
        if isinstance(name, str):
            provider = providers.get(name)
            if provider is None:
                raise Wrong(("upstream", index, "provider"), _unknown(name, providers))
            _fill_in_one(upstream, provider, is_set, ("upstream", index, "provider"))


def _fill_in_one(
    upstream: dict[str, Any], provider: Provider, is_set: Callable[[str], bool], path: Path
) -> None:
    if not upstream.keys() & PROOFS and provider.key_variables and not _brings_its_own_key(upstream):
        variable = next(filter(is_set, provider.key_variables), None)
        if variable is None:
            names = " or ".join(provider.key_variables)
            raise Wrong(path, f"the environment variable {names} is not set, and there is no `api_key` here")
        upstream["api_key"] = {"env": variable}
    upstream.setdefault("base_url", provider.base_url)
    if upstream.setdefault("dialect", provider.dialect) == provider.dialect:
        quirks = upstream.setdefault("quirks", {})
        if isinstance(quirks, dict):
            upstream["quirks"] = msgspec.to_builtins(provider.quirks) | quirks


def _brings_its_own_key(upstream: dict[str, Any]) -> bool:
    headers = upstream.get("headers")
    return isinstance(headers, dict) and any(name.lower() in CREDENTIALS for name in headers)


def _unknown(name: str, providers: Providers) -> str:
    # Not repeated: anything may stand here by mistake, a key too.
    near = difflib.get_close_matches(name, list(providers), n=1)
    guess = f'did you mean "{near[0]}"? ' if near else ""
    return f"no provider of this name is known; {guess}docs/providers.md lists them"
