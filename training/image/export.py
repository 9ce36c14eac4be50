"""Writes reader and hand as ONNX files for onnxruntime, batch size left open."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from training.image.model import PROMPT_BYTES, Hand, Reader


def _write(module: nn.Module, inputs: dict[str, torch.Tensor], output: str, path: Path) -> None:
    module.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    with warnings.catch_warnings():
        # The newer exporter needs two more packages and writes the same graph.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module.to(memory_format=torch.contiguous_format),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=[output],
            dynamic_axes={name: {0: "n"} for name in (*inputs, output)},
            opset_version=18,
            dynamo=False,
        )


def write_reader(reader: Reader, path: Path) -> None:
    """Prompts [n, PROMPT_BYTES] int64 to wishes [n, wishes] float32."""
    _write(reader, {"prompts": torch.zeros(2, PROMPT_BYTES, dtype=torch.long)}, "wishes", path)


def write_hand(hand: Hand, path: Path) -> None:
    """Picture [n, 3, p, p], source [n, 4, p, p], moment [n] and wishes [n, wishes] to way [n, 3, p, p]."""
    pixels = hand.shape.pixels
    inputs = {
        "picture": torch.zeros(2, 3, pixels, pixels),
        "source": torch.zeros(2, 4, pixels, pixels),
        "moment": torch.zeros(2),
        "wishes": torch.zeros(2, hand.shape.wishes),
    }
    _write(hand, inputs, "way", path)
