"""An ONNX graph for weights that come as safetensors alone: encoders of the BERT family, built once and kept.

It is made of onnxruntime's fused operators, so that nothing is left for its optimiser to recognise. Must not
know what the vectors are for.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors import SafetensorError, deserialize

from headgate.core.errors import SettingsError

log = logging.getLogger("headgate.engines.embed")

FORMAT = 1
"""Part of a kept graph's name: one that another version of this file has built is not taken."""

OPSET, MICROSOFT_OPSET = 17, 1
"""LayerNormalization came with 17; the fused operators have been at 1 since there are any."""

EXTERNAL_BYTES = 1_500_000_000
"""Weights above this stand beside the graph: one protobuf message ends at 2 GiB."""

Weights = dict[str, NDArray[np.float32]]


class Encoder(msgspec.Struct, frozen=True):
    """`config.json`, as far as a BERT is described by it."""

    model_type: str = "bert"
    hidden_size: int = msgspec.field(default=0)
    dim: int = 0
    num_attention_heads: int = 0
    n_heads: int = 0
    num_hidden_layers: int = 0
    n_layers: int = 0
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    activation: str = "gelu"
    max_position_embeddings: int = 512
    pad_token_id: int | None = None
    position_embedding_type: str = "absolute"

    @property
    def width(self) -> int:
        return self.hidden_size or self.dim

    @property
    def heads(self) -> int:
        return self.num_attention_heads or self.n_heads

    @property
    def layers(self) -> int:
        return self.num_hidden_layers or self.n_layers

    @property
    def first_position(self) -> int:
        """RoBERTa and its kin count positions from behind the padding's."""
        return (self.pad_token_id or 0) + 1 if "roberta" in self.model_type else 0

    @property
    def positions(self) -> int:
        """Tokens that one text may have."""
        return self.max_position_embeddings - self.first_position


SUPPORTED = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert")

_LAYER = {
    "query": ("attention.self.query", "attention.q_lin"),
    "key": ("attention.self.key", "attention.k_lin"),
    "value": ("attention.self.value", "attention.v_lin"),
    "joined": ("attention.output.dense", "attention.out_lin"),
    "norm1": ("attention.output.LayerNorm", "sa_layer_norm"),
    "wide": ("intermediate.dense", "ffn.lin1"),
    "narrow": ("output.dense", "ffn.lin2"),
    "norm2": ("output.LayerNorm", "output_layer_norm"),
}
"""Parts of a layer: BERT's name, DistilBERT's name."""

_ACTIVATIONS = {
    "gelu": "BiasGelu", "gelu_python": "BiasGelu", "gelu_new": "FastGelu", "gelu_fast": "FastGelu",
    "gelu_pytorch_tanh": "FastGelu",
}  # fmt: skip


def graph_for(weights_file: Path, encoder: Encoder) -> Path:
    """The file with the graph for these weights, built now if it is not there yet; raises SettingsError."""
    if encoder.model_type not in SUPPORTED or encoder.position_embedding_type != "absolute":
        raise SettingsError(
            f"{weights_file.parent}: a model of type {encoder.model_type!r} needs its ONNX file here "
            f"(onnx/model.onnx); a graph can be built for {', '.join(SUPPORTED)}"
        )
    data = weights_file.read_bytes()
    digest = hashlib.sha256(data + msgspec.json.encode(encoder)).hexdigest()[:32]
    folder = _cache_folder() / f"{digest}-{FORMAT}"
    graph = folder / "model.onnx"
    if not graph.is_file():
        log.info("building the graph of %s, once", weights_file.parent)
        model = _build(encoder, _read(weights_file, data))
        try:
            _keep(model, graph, large=len(data) > EXTERNAL_BYTES)
        except OSError as error:
            raise SettingsError(
                f"{folder}: {error.strerror or error}; set XDG_CACHE_HOME to a folder for built graphs"
            ) from None
    return graph


def _keep(model: Any, graph: Path, *, large: bool) -> None:
    folder = graph.parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Another engine may be building the same one: each in a folder of its own, and the last one stands.
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        onnx.save(model, str(Path(made, graph.name)), save_as_external_data=large, location="weights")
        folder.mkdir(exist_ok=True)
        for path in sorted(Path(made).iterdir(), key=lambda path: path.name == graph.name):
            path.replace(folder / path.name)  # the graph last: it says that the folder is complete


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    # Relative paths there are to be ignored, says the XDG specification.
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "headgate" / "graphs"


def _read(path: Path, data: bytes) -> Weights:
    try:
        tensors = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise SettingsError(f"{path}: not a sound safetensors file ({error})") from None
    weights: Weights = {}
    for name, tensor in tensors:
        # `bert.`, `roberta.` ...: who wrapped the encoder has put its own name before it.
        short = name.split(".", 1)[1] if name.split(".", 1)[0] in _WRAPPERS else name
        values = _values(tensor)
        if values is not None:
            weights[short] = values
    return weights


_WRAPPERS = ("bert", "roberta", "distilbert", "model", "auto_model", "0")


def _values(tensor: dict[str, Any]) -> NDArray[np.float32] | None:
    shape, raw = tensor["shape"], bytes(tensor["data"])
    match tensor["dtype"]:
        case "F32":
            flat = np.frombuffer(raw, "<f4")
        case "F16":
            flat = np.frombuffer(raw, "<f2").astype(np.float32)
        case "BF16":  # the upper half of a float's bits
            flat = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        case _:
            return None  # position ids and the like
    return flat.astype(np.float32, copy=False).reshape(shape)


class _Graph:
    """Nodes and weights, as they are added."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def weight(self, name: str) -> NDArray[np.float32]:
        if name not in self.weights:
            raise SettingsError(
                f"the weights have no tensor {name!r}: is this an encoder of the BERT family?"
            )
        return self.weights[name]

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def norm(self, name: str, at: str) -> list[str]:
        """Scale and shift of a layer normalisation; early checkpoints call them gamma and beta."""
        scale, shift = f"{name}.weight", f"{name}.bias"
        if scale not in self.weights:
            scale, shift = f"{name}.gamma", f"{name}.beta"
        return [
            self.constant(f"{at}.scale", self.weight(scale)),
            self.constant(f"{at}.shift", self.weight(shift)),
        ]

    def matrix(self, name: str, at: str) -> str:
        """A dense layer's weight, turned the way MatMul wants it."""
        return self.constant(f"{at}.weight", self.weight(f"{name}.weight").T)

    def bias(self, name: str, at: str) -> str:
        return self.constant(f"{at}.bias", self.weight(f"{name}.bias"))


def _build(encoder: Encoder, weights: Weights) -> Any:
    graph = _Graph(weights)
    hidden = _embeddings(graph, encoder)
    for index in range(encoder.layers):
        hidden = _layer(graph, encoder, index, hidden)
    graph.add("Identity", [hidden], "last_hidden_state")
    tokens = ["batch", "tokens"]
    made = helper.make_graph(
        graph.nodes,
        "encoder",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, tokens),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, tokens),
        ],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*tokens, encoder.width])],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", MICROSOFT_OPSET)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


def _embeddings(graph: _Graph, encoder: Encoder) -> str:
    first = encoder.first_position
    places = graph.weight("embeddings.position_embeddings.weight")[first:]
    if "embeddings.token_type_embeddings.weight" in graph.weights:
        # All of a text is of the first kind, so that kind belongs to every place.
        places = places + graph.weight("embeddings.token_type_embeddings.weight")[0]
    graph.constant("words", graph.weight("embeddings.word_embeddings.weight"))
    graph.constant("places", places)
    graph.constant("zero", np.array([0], np.int64))
    graph.add("Gather", ["words", "input_ids"], "word_vectors")
    graph.add("Shape", ["input_ids"], "length", start=1, end=2)
    graph.add("Slice", ["places", "zero", "length", "zero"], "place_vectors")
    graph.add("Add", ["word_vectors", "place_vectors"], "summed")
    graph.add("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    norm = graph.norm("embeddings.LayerNorm", "embedding_norm")
    return graph.add("LayerNormalization", ["summed", *norm], "embedded", epsilon=encoder.layer_norm_eps)


def _layer(graph: _Graph, encoder: Encoder, index: int, hidden: str) -> str:
    distilled = encoder.model_type == "distilbert"
    before = f"transformer.layer.{index}." if distilled else f"encoder.layer.{index}."
    name = {part: before + names[distilled] for part, names in _LAYER.items()}
    at = f"layer{index}"
    parts = [name["query"], name["key"], name["value"]]
    packed = np.concatenate([graph.weight(f"{part}.weight").T for part in parts], axis=1)
    biases = np.concatenate([graph.weight(f"{part}.bias") for part in parts])
    graph.constant(f"{at}.packed", packed)
    graph.constant(f"{at}.packed_bias", biases)
    seen = graph.add(
        "Attention", [hidden, f"{at}.packed", f"{at}.packed_bias", "mask"], f"{at}.seen",
        domain="com.microsoft", num_heads=encoder.heads,
    )  # fmt: skip
    joined = graph.add("MatMul", [seen, graph.matrix(name["joined"], f"{at}.joined")], f"{at}.joined")
    hidden = _add_and_norm(graph, encoder, joined, hidden, name["norm1"], name["joined"], f"{at}.first")
    wide = graph.add("MatMul", [hidden, graph.matrix(name["wide"], f"{at}.wide")], f"{at}.wide")
    shaped = _activate(graph, encoder, wide, graph.bias(name["wide"], f"{at}.wide"), f"{at}.shaped")
    narrow = graph.add("MatMul", [shaped, graph.matrix(name["narrow"], f"{at}.narrow")], f"{at}.narrow")
    return _add_and_norm(graph, encoder, narrow, hidden, name["norm2"], name["narrow"], f"{at}.second")


def _add_and_norm(graph: _Graph, encoder: Encoder, new: str, old: str, norm: str, dense: str, at: str) -> str:
    inputs = [new, old, *graph.norm(norm, at), graph.bias(dense, at)]
    return graph.add(
        "SkipLayerNormalization", inputs, f"{at}.out", domain="com.microsoft", epsilon=encoder.layer_norm_eps
    )


def _activate(graph: _Graph, encoder: Encoder, values: str, bias: str, output: str) -> str:
    wanted = encoder.activation if encoder.model_type == "distilbert" else encoder.hidden_act
    if wanted == "relu":
        graph.add("Add", [values, bias], f"{output}.sum")
        return graph.add("Relu", [f"{output}.sum"], output)
    if wanted not in _ACTIVATIONS:
        raise SettingsError(f"the activation {wanted!r} is not known: bring the model's ONNX file")
    return graph.add(_ACTIVATIONS[wanted], [values, bias], output, domain="com.microsoft")
