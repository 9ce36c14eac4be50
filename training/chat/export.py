"""Writes the trained network as a GGUF file that llama.cpp loads: architecture `llama`, one token a byte."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from training.chat import conversation as chat
from training.chat.model import Llama


def byte_letters() -> list[str]:
    """The printable letter that stands for each byte in a byte-level vocabulary, as GPT-2 began it."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    spare = 256
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(spare)
            spare += 1
    return [letters[byte] for byte in range(256)]


def write(model: Llama, path: Path, quantization: gguf.GGMLQuantizationType) -> None:
    """The whole file: description, vocabulary, chat template, weights (norms stay in 32 bits)."""
    shape = model.shape
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("starter-chat")
    writer.add_author("The Headgate project")
    writer.add_license("apache-2.0")
    writer.add_languages(["en", "zh"])
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.key_value_heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(chat.VOCABULARY)
    is_half = quantization == gguf.GGMLQuantizationType.F16
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if is_half else gguf.LlamaFileType.MOSTLY_Q8_0)

    kinds = [gguf.TokenType.NORMAL] * 256
    kinds += [gguf.TokenType.CONTROL] * len(chat.CONTROL_MARKERS)
    kinds += [gguf.TokenType.USER_DEFINED] * len(chat.TEXT_MARKERS)
    letters = byte_letters()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(letters + list(chat.MARKERS))
    writer.add_token_types(kinds)
    # The loader insists on merges; this one joins two bytes that UTF-8 never uses.
    writer.add_token_merges([f"{letters[0xFE]} {letters[0xFF]}"])
    writer.add_bos_token_id(chat.MARKERS[chat.TURN_START])
    writer.add_eos_token_id(chat.MARKERS[chat.TURN_END])
    writer.add_eot_token_id(chat.MARKERS[chat.TURN_END])
    writer.add_pad_token_id(chat.MARKERS[chat.PADDING])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(chat.TEMPLATE)

    for name, tensor in model.state_dict().items():
        values: np.ndarray = tensor.float().numpy()
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, quantization), raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
