"""Writes the trained network as a GGUF file that llama.cpp loads: architecture `llama`."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from training.chat import conversation as chat
from training.chat import vocabulary
from training.chat.model import Llama


def _letters() -> list[str]:
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    spare = 256
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(spare)
            spare += 1
    return [letters[byte] for byte in range(256)]


_LETTERS = _letters()


def printable(piece: bytes) -> str:
    """A piece as such vocabularies write it since GPT-2: one printable letter a byte."""
    return "".join(_LETTERS[byte] for byte in piece)


def shown(token: int) -> str:
    """A token as the file's vocabulary lists it; a marker by its name."""
    piece = vocabulary.piece(token)
    return piece.decode() if token in vocabulary.MARKERS.values() else printable(piece)


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
    writer.add_vocab_size(vocabulary.VOCABULARY)
    is_half = quantization == gguf.GGMLQuantizationType.F16
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if is_half else gguf.LlamaFileType.MOSTLY_Q8_0)

    kinds = [gguf.TokenType.NORMAL] * vocabulary.VOCABULARY
    for marker, token in vocabulary.MARKERS.items():
        control = marker in vocabulary.CONTROL_MARKERS
        kinds[token] = gguf.TokenType.CONTROL if control else gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([shown(token) for token in range(vocabulary.VOCABULARY)])
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(map(printable, pair)) for pair in vocabulary.MERGES])
    writer.add_bos_token_id(vocabulary.MARKERS[vocabulary.TURN_START])
    writer.add_eos_token_id(vocabulary.MARKERS[vocabulary.TURN_END])
    writer.add_eot_token_id(vocabulary.MARKERS[vocabulary.TURN_END])
    writer.add_pad_token_id(vocabulary.MARKERS[vocabulary.PADDING])
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
