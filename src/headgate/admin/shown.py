"""The configuration's models and upstreams as the operator's API shows them: read-only, without secrets."""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core.settings import Settings

HIDDEN = ("api_key", "api_keys", "headers", "query", "identity")
"""Where secrets can stand. Only whether there is something is told."""


def shown(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """`models` with their targets, `upstreams` with the engines among them."""
    models = [
        {
            "name": name,
            "source": "file",
            "targets": [
                {"upstream": target.upstream, "upstream_model": target.model or name} for target in targets
            ],
        }
        for name, targets in settings.models().items()
    ]
    models += [
        {"name": name, "source": "file", "alias_of": model} for name, model in settings.aliases.items()
    ]
    upstreams = [{**_plain(upstream), "source": "file"} for upstream in settings.upstreams]
    upstreams += [{**_plain(engine), "source": "file"} for engine in settings.engines]
    return {"models": models, "upstreams": upstreams}


def _plain(record: msgspec.Struct) -> dict[str, Any]:
    names = [name for name in record.__struct_fields__ if name not in HIDDEN]
    told = {name: msgspec.to_builtins(getattr(record, name), enc_hook=str) for name in names}
    return told | {name: bool(getattr(record, name)) for name in HIDDEN if hasattr(record, name)}
