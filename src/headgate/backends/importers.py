"""Other gateways whose configurations can be taken over, by the words on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import msgspec

from headgate.backends.importing import Draft
from headgate.backends.importing_litellm import import_litellm
from headgate.backends.importing_one_api import import_new_api, import_one_api
from headgate.core.errors import SettingsError


class Importer(msgspec.Struct, frozen=True):
    """How one of them is read."""

    read: Callable[[str], Any]
    """Text to what it says; raises SettingsError."""
    draft: Callable[[Any], Draft]
    """What it says as a draft of ours; raises SettingsError."""


def read_json(text: str) -> Any:
    """JSON to values."""
    try:
        return json.loads(text)
    except ValueError:
        raise SettingsError("not JSON") from None


def read_yaml(text: str) -> Any:
    """YAML to values, without anything that runs code."""
    try:
        yaml: Any = import_module("yaml")
    except ImportError:
        raise SettingsError("reading YAML needs PyYAML: pip install pyyaml") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        # Its message quotes the line, and with it perhaps a key.
        raise SettingsError("not YAML") from None


IMPORTERS = {
    "litellm": Importer(read_yaml, import_litellm),
    "new-api": Importer(read_json, import_new_api),
    "one-api": Importer(read_json, import_one_api),
}
"""By name."""
