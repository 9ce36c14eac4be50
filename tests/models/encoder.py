"""Writes tiny random encoders in sentence-transformers' style, and computes what they should say.

The reference is plain numpy, step by step as the papers have it; it knows nothing of onnxruntime.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

Values = NDArray[np.float32]

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "dog",
    "ran",
    "far",
    "away",
]
WIDTH, HEADS, LAYERS, WIDE, POSITIONS = 16, 4, 2, 32, 24

BERT = {
    "layer": "encoder.layer", "q": "attention.self.query", "k": "attention.self.key",
    "v": "attention.self.value", "o": "attention.output.dense", "n1": "attention.output.LayerNorm",
    "w": "intermediate.dense", "d": "output.dense", "n2": "output.LayerNorm",
}  # fmt: skip
DISTIL = {
    "layer": "transformer.layer", "q": "attention.q_lin", "k": "attention.k_lin", "v": "attention.v_lin",
    "o": "attention.out_lin", "n1": "sa_layer_norm", "w": "ffn.lin1", "d": "ffn.lin2",
    "n2": "output_layer_norm",
}  # fmt: skip


def write_encoder(
    folder: Path,
    kind: str = "bert",
    *,
    pooling: Mapping[str, Any] | None = None,
    prefix: str = "",
    activation: str = "gelu",
    normalise: bool = True,
    dense: bool = False,
) -> dict[str, Values]:
    """A model folder of this kind; returns the weights by their plain names."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = _weights(kind)
    save_file({prefix + name: value for name, value in weights.items()}, folder / "model.safetensors")
    common = {"model_type": kind, "hidden_act": activation, "activation": activation, "pad_token_id": 0}
    sizes = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS}
    if kind == "distilbert":
        sizes = {"dim": WIDTH, "n_heads": HEADS, "n_layers": LAYERS}
    config = {**common, **sizes, "max_position_embeddings": POSITIONS, "layer_norm_eps": 1e-12}
    (folder / "config.json").write_text(json.dumps(config))
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    modules.append({"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"})
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps(pooling or {"pooling_mode_mean_tokens": True})
    )
    if dense:
        modules.append({"type": "sentence_transformers.models.Dense", "path": "2_Dense"})
        (folder / "2_Dense").mkdir(exist_ok=True)
        (folder / "2_Dense" / "config.json").write_text("{}")
        weight = np.random.default_rng(5).normal(size=(8, WIDTH)).astype(np.float32)
        save_file({"linear.weight": weight}, folder / "2_Dense" / "model.safetensors")
        weights["dense"] = weight
    if normalise:
        modules.append({"type": "sentence_transformers.models.Normalize", "path": "3_Normalize"})
    (folder / "modules.json").write_text(json.dumps(modules))
    _tokenizer().save(str(folder / "tokenizer.json"))
    return weights


def _tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def _weights(kind: str) -> dict[str, Values]:
    random = np.random.default_rng(7)

    def some(*shape: int) -> Values:
        return (random.normal(size=shape) * 0.5).astype(np.float32)

    names = DISTIL if kind == "distilbert" else BERT
    weights = {
        "embeddings.word_embeddings.weight": some(len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": some(POSITIONS, WIDTH),
        "embeddings.LayerNorm.weight": some(WIDTH),
        "embeddings.LayerNorm.bias": some(WIDTH),
    }
    if kind != "distilbert":
        weights["embeddings.token_type_embeddings.weight"] = some(2, WIDTH)
    for index in range(LAYERS):
        at = f"{names['layer']}.{index}."
        for part, rows, columns in (("q", WIDTH, WIDTH), ("k", WIDTH, WIDTH), ("v", WIDTH, WIDTH),
                                    ("o", WIDTH, WIDTH), ("w", WIDE, WIDTH), ("d", WIDTH, WIDE)):  # fmt: skip
            weights[f"{at}{names[part]}.weight"] = some(rows, columns)
            weights[f"{at}{names[part]}.bias"] = some(rows)
        for part in ("n1", "n2"):
            weights[f"{at}{names[part]}.weight"] = some(WIDTH)
            weights[f"{at}{names[part]}.bias"] = some(WIDTH)
    return weights


def hidden_states(weights: Mapping[str, Values], tokens: Sequence[int], kind: str = "bert") -> Values:
    """The encoder's last layer for one text."""
    names = DISTIL if kind == "distilbert" else BERT
    first = 1 if "roberta" in kind else 0  # its padding has the number 0 here
    values = weights["embeddings.word_embeddings.weight"][list(tokens)]
    values = values + weights["embeddings.position_embeddings.weight"][first : first + len(tokens)]
    if kind != "distilbert":
        values = values + weights["embeddings.token_type_embeddings.weight"][0]
    values = _norm(values, weights, "embeddings.LayerNorm")
    for index in range(LAYERS):
        at = f"{names['layer']}.{index}."
        seen = _dense(_attended(values, weights, at, names), weights, at + names["o"])
        values = _norm(values + seen, weights, at + names["n1"])
        wide = _gelu(_dense(values, weights, at + names["w"]))
        values = _norm(values + _dense(wide, weights, at + names["d"]), weights, at + names["n2"])
    return values


def _attended(values: Values, weights: Mapping[str, Values], at: str, names: Mapping[str, str]) -> Values:
    split = [
        _dense(values, weights, at + names[part]).reshape(len(values), HEADS, -1).transpose(1, 0, 2)
        for part in ("q", "k", "v")
    ]
    query, key, value = split
    scores = query @ key.transpose(0, 2, 1) / np.sqrt(WIDTH / HEADS)
    share = np.exp(scores - scores.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    return np.asarray((share @ value).transpose(1, 0, 2).reshape(len(values), WIDTH), np.float32)


def _dense(values: Values, weights: Mapping[str, Values], name: str) -> Values:
    return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(values: Values, weights: Mapping[str, Values], name: str) -> Values:
    centred = values - values.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
    return np.asarray(scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"], np.float32)


def _gelu(values: Values) -> Values:
    from math import erf

    return np.asarray(values * 0.5 * (1 + np.vectorize(erf)(values / np.sqrt(2))), np.float32)
