"""Reads providers.toml, the services that are known by name. Must not know what a configuration is."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from types import MappingProxyType

import msgspec

from headgate.core.provider import Provider, Providers


@cache
def known_providers() -> Providers:
    """The rows of providers.toml by name, in the file's order."""
    text = resources.files("headgate.backends").joinpath("providers.toml").read_text("utf-8")
    rows = tomllib.loads(text)
    return MappingProxyType(
        {name: msgspec.convert({"name": name, **row}, Provider) for name, row in rows.items()}
    )
