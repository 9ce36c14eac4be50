"""A folder in sentence-transformers' style, loaded: text to tokens, tokens to vectors.

Pooling, further dense layers and normalisation are as the folder says. Must not know who asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from headgate.core.errors import SettingsError
from headgate.engines.embed_graph import Encoder, graph_for

Vectors = NDArray[np.float32]
Record = TypeVar("Record", bound=msgspec.Struct)

GRAPHS = ("onnx/model.onnx", "model.onnx")
"""Where exporters put a graph."""

WEIGHTS = "model.safetensors"

HIDDEN = ("last_hidden_state", "token_embeddings", "hidden_states")
"""What exporters call the vectors of the tokens."""


class _Module(msgspec.Struct):
    type: str
    path: str = ""


class _Lengths(msgspec.Struct):
    max_seq_length: int | None = None


class _Pooling(msgspec.Struct):
    pooling_mode: str | None = None
    pooling_mode_cls_token: bool = False
    pooling_mode_mean_tokens: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False
    pooling_mode_weightedmean_tokens: bool = False
    pooling_mode_lasttoken: bool = False

    def modes(self) -> list[str]:
        """How tokens become one vector; several are put one after the other."""
        if self.pooling_mode is not None:
            return [self.pooling_mode]
        flags = {
            "cls": self.pooling_mode_cls_token,
            "max": self.pooling_mode_max_tokens,
            "mean": self.pooling_mode_mean_tokens,
            "mean_sqrt_len_tokens": self.pooling_mode_mean_sqrt_len_tokens,
            "weightedmean": self.pooling_mode_weightedmean_tokens,
            "lasttoken": self.pooling_mode_lasttoken,
        }
        return [mode for mode, wanted in flags.items() if wanted]


class _Dense(msgspec.Struct):
    activation_function: str = "torch.nn.modules.activation.Tanh"


class EmbeddingModel:
    """One model, ready to compute. `vectors` may be called from any one thread at a time."""

    def __init__(
        self, place: Path, *, threads: int, context_tokens: int | None = None, sha256: str | None = None
    ) -> None:
        """`place` is the folder, or an ONNX file in it; `sha256` what its weights must hash to.

        Raises SettingsError when it is not such a model.
        """
        folder = _folder(place)
        encoder = _record(folder / "config.json", Encoder)
        graph = _graph(place, folder, encoder, sha256)
        self._tokenizer = _tokenizer(folder)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.vocabulary = self._tokenizer.get_vocab_size()
        """Token ids are below this."""
        said = _record(folder / "sentence_bert_config.json", _Lengths, missing=_Lengths()).max_seq_length
        self.context_tokens = min(context_tokens or said or encoder.positions, encoder.positions)
        """Tokens that one text may have, the marks at its ends included."""
        self._pad = encoder.pad_token_id or 0
        self._session = _session(graph, threads)
        self._inputs = {one.name for one in self._session.get_inputs()}
        outputs = [one.name for one in self._session.get_outputs()]
        self._output = next((name for name in HIDDEN if name in outputs), outputs[0])
        self._steps = _steps(folder)
        self.dimensions = int(self.vectors([self.tokens(["a"])[0]]).shape[1])
        """Length of the vectors."""

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of texts, with the marks that the model wants around them."""
        return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts))]

    def framed(self, tokens: list[int]) -> list[int]:
        """Tokens that came as numbers, with the marks around them if they have none."""
        frame = self._tokenizer.encode("").ids
        if len(frame) != 2 or (tokens[0], tokens[-1]) == (frame[0], frame[1]):
            return tokens
        return [frame[0], *tokens, frame[1]]

    def vectors(self, sequences: Sequence[Sequence[int]]) -> Vectors:
        """One row for each sequence of tokens; padded to the longest, so give them of similar lengths."""
        longest = max(map(len, sequences))
        ids = np.full((len(sequences), longest), self._pad, np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(sequences):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        fed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run([self._output], {name: fed[name] for name in self._inputs & fed.keys()})[0]
        values: Vectors = hidden if hidden.ndim == 2 else _pool(hidden, mask, self._steps.pooling)
        for weight, bias, bounded in self._steps.dense:
            values = values @ weight.T + bias
            values = np.tanh(values) if bounded else values
        return unit(values) if self._steps.normalise else values


def unit(values: Vectors) -> Vectors:
    """Each row at length one."""
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.maximum(lengths, 1e-12), np.float32)


class _Steps(msgspec.Struct):
    pooling: list[str] = msgspec.field(default_factory=lambda: ["mean"])
    dense: list[tuple[Vectors, Vectors, bool]] = msgspec.field(default_factory=list)
    normalise: bool = False


def _steps(folder: Path) -> _Steps:
    """What follows the encoder."""
    path = folder / "modules.json"
    if not path.is_file():
        return _Steps(normalise=True)  # a bare encoder: what most of them are used with
    steps = _Steps()
    for module in _record(path, list[_Module]):
        match module.type.rsplit(".", 1)[-1]:
            case "Transformer" | "Dropout":
                pass
            case "Pooling":
                steps.pooling = _record(folder / module.path / "config.json", _Pooling).modes()
            case "Normalize":
                steps.normalise = True
            case "Dense":
                steps.dense.append(_dense(folder / module.path))
            case other:
                raise SettingsError(f"{path}: a module of type {other!r} is not known here")
    return steps


def _dense(folder: Path) -> tuple[Vectors, Vectors, bool]:
    activation = _record(folder / "config.json", _Dense).activation_function.rsplit(".", 1)[-1]
    if activation not in ("Tanh", "Identity"):
        raise SettingsError(f"{folder}: the activation {activation!r} is not known here")
    weights = load_file(folder / "model.safetensors")
    weight = weights["linear.weight"]
    return weight, weights.get("linear.bias", np.zeros(len(weight), np.float32)), activation == "Tanh"


def _pool(hidden: Vectors, mask: NDArray[np.int64], modes: list[str]) -> Vectors:
    weights = mask[:, :, None].astype(np.float32)
    count = np.maximum(weights.sum(1), 1e-9)
    pooled: list[Vectors] = []
    for mode in modes:
        match mode:
            case "cls":
                pooled.append(hidden[:, 0])
            case "mean":
                pooled.append((hidden * weights).sum(1) / count)
            case "mean_sqrt_len_tokens":
                pooled.append((hidden * weights).sum(1) / np.sqrt(count))
            case "max":
                pooled.append(np.where(weights > 0, hidden, -1e9).max(1))
            case "weightedmean":
                places = weights * np.arange(1, hidden.shape[1] + 1, dtype=np.float32)[None, :, None]
                pooled.append((hidden * places).sum(1) / places.sum(1))
            case "lasttoken":
                pooled.append(hidden[np.arange(len(hidden)), mask.sum(1) - 1])
            case _:
                raise SettingsError(f"pooling {mode!r} is not known here")
    return np.concatenate(pooled, axis=1)


def _folder(place: Path) -> Path:
    """Where the tokenizer is: the place itself, or above the file that it is."""
    for folder in (place, place.parent, place.parent.parent) if place.is_file() else (place,):
        if (folder / "tokenizer.json").is_file():
            return folder
    raise SettingsError(f"{place}: no tokenizer.json there; a folder in sentence-transformers' style has one")


def _graph(place: Path, folder: Path, encoder: Encoder, sha256: str | None) -> Path:
    candidates = [place] if place.is_file() else [folder / name for name in (*GRAPHS, WEIGHTS)]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise SettingsError(f"{folder}: neither {' nor '.join(GRAPHS)} nor {WEIGHTS} is there")
    if sha256 is not None:
        with found.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != sha256:
            raise SettingsError(f"{found}: its SHA-256 is {digest}, and it was to be {sha256}")
    return graph_for(found, encoder) if found.name == WEIGHTS else found


def _tokenizer(folder: Path) -> Any:
    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # noqa: BLE001  # the library raises nothing narrower
        raise SettingsError(f"{folder}/tokenizer.json cannot be read: {error}") from None


def _session(graph: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait take from whoever shares the machine, the gate among them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            str(graph), options, providers=onnxruntime.get_available_providers()
        )
    except Exception as error:  # noqa: BLE001  # the library's classes are not public
        raise SettingsError(f"onnxruntime cannot load {graph}: {error}") from None


def _record(path: Path, kind: Any, missing: Any = None) -> Any:
    if missing is not None and not path.is_file():
        return missing
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise SettingsError(f"{path}: {error}") from None
