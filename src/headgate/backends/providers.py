"""Reads providers.toml, the services that are known by name. Must not know what a configuration is."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from types import MappingProxyType

import msgspec

from headgate.core.provider import Provider, Providers

_TRACE_NAMES = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
"""Where OpenTelemetry's `gen_ai.provider.name` is another word than ours."""


def trace_name(provider: str | None, dialect: str) -> str:
    """What traces call an upstream: the service's name, or that of the format it speaks."""
    name = provider or dialect
    return _TRACE_NAMES.get(name, name)


@cache
def known_providers() -> Providers:
    """The rows of providers.toml by name, in the file's order."""
    text = resources.files("headgate.backends").joinpath("providers.toml").read_text("utf-8")
    rows = tomllib.loads(text)
    return MappingProxyType(
        {name: msgspec.convert({"name": name, **row}, Provider) for name, row in rows.items()}
    )
