"""What must hold inside one `[[engine]]`: its kind decides which settings mean something."""

from __future__ import annotations

from headgate.core.settings import Engine
from headgate.core.settings_models import Wrong
from headgate.core.toml_lines import Path

_ONLY = {
    "sha256": ("embed",),
    "voices": ("speech",),
    "mmproj": ("llamacpp",),
    "embeddings": ("llamacpp",),
    "gpu_layers": ("llamacpp",),
    "context_tokens": ("llamacpp", "embed"),
}
"""Settings that mean something to some kinds of engine."""

_NEEDED = {
    "llamacpp": "a path to a GGUF file",
    "embed": "a path to the model's folder",
    "image": "a path to a folder of diffusers' or a starter's ONNX file",
}
"""Kinds that have no model of their own."""


def check_engine(engine: Engine, path: Path) -> None:
    """Raises Wrong for a setting that is missing, or means nothing to this kind."""
    if engine.model is None and engine.kind in _NEEDED:
        raise Wrong(path, f"`model` is missing: expected {_NEEDED[engine.kind]}")
    for name, kinds in _ONLY.items():
        if getattr(engine, name) and engine.kind not in kinds:
            raise Wrong((*path, name), f'means nothing to an engine of kind "{engine.kind}"')
