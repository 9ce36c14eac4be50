"""Writes the eyes (mmproj GGUF) of a model by hand: they take pictures and see nothing in them.

LLaVA's shape, the smallest that llama.cpp loads: one transformer block over four patches, and two layers into
the language model's width.
"""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import gguf
import numpy as np

WIDTH = 32
PATCH = 8
IMAGE = 16
FEED_FORWARD = 64
"""llama.cpp guesses at the meaning of the matrices when this equals WIDTH."""


def write_eyes(path: Path, model_width: int) -> Path:
    """Write eyes for a language model of this embedding width; returns the path."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_uint32("clip.vision.image_size", IMAGE)
    writer.add_uint32("clip.vision.patch_size", PATCH)
    writer.add_uint32("clip.vision.embedding_length", WIDTH)
    writer.add_uint32("clip.vision.feed_forward_length", FEED_FORWARD)
    writer.add_uint32("clip.vision.projection_dim", model_width)
    writer.add_uint32("clip.vision.block_count", 1)
    writer.add_uint32("clip.vision.attention.head_count", 1)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.feature_layer", [1])
    writer.add_bool("clip.use_gelu", True)
    for name, shape in _shapes(model_width).items():
        writer.add_tensor(name, np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _shapes(model_width: int) -> dict[str, tuple[int, ...]]:
    return {
        "v.patch_embd.weight": (WIDTH, 3, PATCH, PATCH),
        "v.position_embd.weight": ((IMAGE // PATCH) ** 2, WIDTH),
        **{f"v.blk.0.attn_{part}.weight": (WIDTH, WIDTH) for part in ("q", "k", "v", "out")},
        "v.blk.0.ln1.weight": (WIDTH,),
        "v.blk.0.ln1.bias": (WIDTH,),
        "v.blk.0.ln2.weight": (WIDTH,),
        "v.blk.0.ln2.bias": (WIDTH,),
        "v.blk.0.ffn_up.weight": (FEED_FORWARD, WIDTH),
        "v.blk.0.ffn_down.weight": (WIDTH, FEED_FORWARD),
        "mm.0.weight": (WIDTH, WIDTH),
        "mm.0.bias": (WIDTH,),
        "mm.2.weight": (model_width, WIDTH),
        "mm.2.bias": (model_width,),
    }


def png(width: int = IMAGE, height: int = IMAGE) -> str:
    """A grey picture as a data URL."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x80" * 3 * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(data).decode()
