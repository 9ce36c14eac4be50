"""Writes a tiny Whisper for faster-whisper that always hears the same, whatever is said to it.

All of its layers are zero, so what it says next depends on the place in its answer alone. It is an English
one: whether the library takes one for multilingual, it does not tell by anything that could be written here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2 import specs
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

WIDTH, MELS, FRAMES, PLACES = 256, 80, 1500, 448
TEXT_TOKENS = 300


def write_whisper(folder: Path, says: Sequence[tuple[float, str, float]] = ((0.0, "Hello.", 1.0),)) -> Path:
    """`says` are segments: start, a word, end. (Spaces are among what the library suppresses here.)"""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = [tokenizer.id_to_token(index) for index in range(tokenizer.get_vocab_size())]
    known = {name: index for index, name in enumerate(names)}
    answer: list[int] = []
    for start, text, end in says:
        answer += [known[f"<|{start:.2f}|>"], *tokenizer.encode(text).ids, known[f"<|{end:.2f}|>"]]
    answer.append(known["<|endoftext|>"])
    wanted = dict(enumerate(answer))
    spec = _spec(len(names), wanted)
    spec.register_vocabulary(names)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.lang_ids = [known["<|en|>"]]
    spec.config.alignment_heads = [(0, 0)]
    spec.validate()
    spec.save(str(folder))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": MELS}))
    return folder


def _tokenizer() -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(letters)}
    vocabulary |= {f"unused{index}": index for index in range(len(letters), TEXT_TOKENS)}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    marks = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>"]
    marks += [
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
    ]
    made.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    made.add_tokens([AddedToken(f"<|{step * 0.02:.2f}|>") for step in range(1501)])
    return made


def _spec(vocabulary: int, wanted: dict[int, int]) -> Any:
    spec = specs.WhisperSpec(1, 1, 1, 1)
    random = np.random.default_rng(3)
    encoder, decoder = spec.encoder, spec.decoder
    encoder.conv1.weight, encoder.conv1.bias = _zeros(WIDTH, MELS, 3), _zeros(WIDTH)
    encoder.conv2.weight, encoder.conv2.bias = _zeros(WIDTH, WIDTH, 3), _zeros(WIDTH)
    encoder.position_encodings.encodings = _zeros(FRAMES, WIDTH)
    _norm(encoder.layer_norm)
    _attention(encoder.layer[0].self_attention, (3 * WIDTH, WIDTH))
    _feed_forward(encoder.layer[0].ffn)
    # Directions at right angles, each with a mean of zero, as the norm leaves them.
    basis, _ = np.linalg.qr(np.column_stack([np.ones(WIDTH), random.normal(size=(WIDTH, WIDTH - 1))]))
    places = _zeros(PLACES, WIDTH)
    places[: WIDTH - 1] = basis.T[1:] * np.sqrt(WIDTH)
    decoder.embeddings.weight = _zeros(vocabulary, WIDTH)
    decoder.position_encodings.encodings = places
    _norm(decoder.layer_norm)
    _attention(decoder.layer[0].self_attention, (3 * WIDTH, WIDTH))
    _attention(decoder.layer[0].attention, (WIDTH, 2 * WIDTH, WIDTH))
    _feed_forward(decoder.layer[0].ffn)
    projection = _zeros(vocabulary, WIDTH)
    for place, token in wanted.items():
        projection[token] += places[place]
    decoder.projection.weight = projection
    return spec


def _zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def _norm(layer: Any) -> None:
    layer.gamma, layer.beta = np.ones(WIDTH, np.float32), _zeros(WIDTH)


def _attention(layer: Any, rows: Sequence[int]) -> None:
    _norm(layer.layer_norm)
    for linear, count in zip(layer.linear, rows, strict=True):
        linear.weight, linear.bias = _zeros(count, WIDTH), _zeros(count)


def _feed_forward(layer: Any) -> None:
    _norm(layer.layer_norm)
    layer.linear_0.weight, layer.linear_0.bias = _zeros(WIDTH, WIDTH), _zeros(WIDTH)
    layer.linear_1.weight, layer.linear_1.bias = _zeros(WIDTH, WIDTH), _zeros(WIDTH)
