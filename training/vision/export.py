"""Writes the eye as the mmproj GGUF file that llama.cpp loads beside a language model."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from training.vision.model import Eye

_HALF = gguf.GGMLQuantizationType.F16


def write(eye: Eye, path: Path) -> None:
    """The whole file: what llama.cpp must know to cut and scale a picture, and the weights."""
    shape = eye.shape
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_name("starter-vision")
    writer.add_author("The Headgate project")
    writer.add_license("apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_image_size(shape.pixels)
    writer.add_vision_patch_size(shape.patch)
    writer.add_vision_embedding_length(shape.width)
    writer.add_vision_feed_forward_length(shape.feed_forward)
    writer.add_vision_projection_dim(shape.told)
    writer.add_vision_block_count(shape.layers)
    writer.add_vision_head_count(shape.heads)
    writer.add_vision_attention_layernorm_eps(shape.norm_epsilon)
    # Pixels reach the eye between -1 and 1.
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    writer.add_vision_use_gelu(True)
    # Without it the loader leaves out the last block.
    writer.add_array("clip.vision.feature_layer", [shape.layers])

    for name, tensor in eye.state_dict().items():
        values: np.ndarray = tensor.float().numpy()
        # The projector's layers are called after their places in a torch Sequential, as LLaVA's were.
        shown = f"mm.{name.removeprefix('told.')}" if name.startswith("told.") else f"v.{name}"
        shown = f"{shown}.weight" if name == "position_embd" else shown
        if values.ndim == 1 or name == "position_embd":
            writer.add_tensor(shown, values)
        else:
            writer.add_tensor(shown, gguf.quants.quantize(values, _HALF), raw_dtype=_HALF)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
