"""Folders in sentence-transformers' style: what is computed is what the papers and the folder say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from headgate.core.errors import SettingsError
from headgate.engines.embed_graph import Encoder, graph_for
from headgate.engines.embed_model import EmbeddingModel
from tests.models.encoder import POSITIONS, WORDS, hidden_states, write_encoder

TEXTS = ["the cat sat on a mat", "the dog", "a dog ran far far away on the mat"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "headgate" / "graphs"


def loaded(folder: Path, **options: Any) -> EmbeddingModel:
    return EmbeddingModel(folder, threads=1, **options)


@pytest.mark.parametrize(("kind", "prefix"), [("bert", ""), ("bert", "bert."), ("roberta", "roberta."),
                                              ("distilbert", "distilbert.")])  # fmt: skip
def test_a_graph_computes_what_the_encoder_says(kind: str, prefix: str, tmp_path: Path) -> None:
    weights = write_encoder(tmp_path / "m", kind, prefix=prefix, normalise=False)
    model = loaded(tmp_path / "m")
    tokens = model.tokens(TEXTS)
    found = model.vectors(tokens)  # padded to the longest: padding must not be seen
    for row, one in zip(found, tokens, strict=True):
        np.testing.assert_allclose(row, hidden_states(weights, one, kind).mean(0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("pooling", "reduce"),
    [
        ({"pooling_mode_cls_token": True}, lambda hidden: hidden[0]),
        ({"pooling_mode": "max"}, lambda hidden: hidden.max(0)),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, lambda hidden: hidden.sum(0) / np.sqrt(len(hidden))),
        ({"pooling_mode_lasttoken": True}, lambda hidden: hidden[-1]),
        (
            {"pooling_mode_weightedmean_tokens": True},
            lambda hidden: np.average(hidden, axis=0, weights=np.arange(1, len(hidden) + 1)),
        ),
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            lambda hidden: np.concatenate([hidden[0], hidden.mean(0)]),
        ),
    ],
    ids=["cls", "max", "sqrt", "last", "weighted", "two"],
)
def test_tokens_are_pooled_as_the_folder_says(pooling: dict[str, Any], reduce: Any, tmp_path: Path) -> None:
    weights = write_encoder(tmp_path / "m", pooling=pooling, normalise=False)
    model = loaded(tmp_path / "m")
    tokens = model.tokens(TEXTS)
    for row, one in zip(model.vectors(tokens), tokens, strict=True):
        np.testing.assert_allclose(row, reduce(hidden_states(weights, one)), rtol=1e-3, atol=1e-4)


def test_a_dense_layer_and_length_one(tmp_path: Path) -> None:
    weights = write_encoder(tmp_path / "m", dense=True)
    model = loaded(tmp_path / "m")
    assert model.dimensions == 8
    tokens = model.tokens(TEXTS[:1])
    expected = np.tanh(hidden_states(weights, tokens[0]).mean(0) @ weights["dense"].T)
    np.testing.assert_allclose(
        model.vectors(tokens)[0], expected / np.linalg.norm(expected), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_read(dtype: str, tmp_path: Path) -> None:
    write_encoder(tmp_path / "m")
    exact = loaded(tmp_path / "m")
    tokens = exact.tokens(TEXTS)
    expected = exact.vectors(tokens)
    import ml_dtypes

    kind = np.float16 if dtype == "float16" else ml_dtypes.bfloat16
    file = tmp_path / "m" / "model.safetensors"
    save_file({name: values.astype(kind) for name, values in load_file(file).items()}, file)
    np.testing.assert_allclose(loaded(tmp_path / "m").vectors(tokens), expected, atol=0.05)


def test_a_graph_is_built_once(tmp_path: Path, cache: Path) -> None:
    write_encoder(tmp_path / "m")
    loaded(tmp_path / "m")
    (graph,) = cache.glob("*/model.onnx")
    made_at = graph.stat().st_mtime_ns
    loaded(tmp_path / "m")
    assert graph.stat().st_mtime_ns == made_at
    assert sorted(path.name for path in cache.iterdir()) == [graph.parent.name]


def test_weights_above_the_limit_stand_beside_their_graph(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = write_encoder(tmp_path / "m", normalise=False)
    monkeypatch.setattr("headgate.engines.embed_graph.EXTERNAL_BYTES", 100)
    model = loaded(tmp_path / "m")
    assert list(cache.glob("*/weights"))
    tokens = model.tokens(TEXTS[:1])
    np.testing.assert_allclose(
        model.vectors(tokens)[0], hidden_states(weights, tokens[0]).mean(0), rtol=1e-3, atol=1e-4
    )


def test_an_onnx_file_in_the_folder_is_taken_as_it_is(tmp_path: Path, cache: Path) -> None:
    write_encoder(tmp_path / "m")
    expected = loaded(tmp_path / "m").vectors([[2, 5, 3]])
    (graph,) = cache.glob("*/model.onnx")
    (tmp_path / "m" / "onnx").mkdir()
    given = tmp_path / "m" / "onnx" / "model.onnx"
    onnx.save(onnx.load(graph), given)
    graph.unlink()
    (tmp_path / "m" / "model.safetensors").unlink()
    for place in (tmp_path / "m", given):
        np.testing.assert_allclose(loaded(place).vectors([[2, 5, 3]]), expected, rtol=1e-5)


def test_only_the_weights_that_were_meant_are_loaded(tmp_path: Path) -> None:
    write_encoder(tmp_path / "m")
    with pytest.raises(SettingsError, match="SHA-256"):
        loaded(tmp_path / "m", sha256="0" * 64)


def test_the_context_is_the_folders_or_what_is_asked_for(tmp_path: Path) -> None:
    write_encoder(tmp_path / "m")
    assert loaded(tmp_path / "m").context_tokens == POSITIONS
    (tmp_path / "m" / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    assert loaded(tmp_path / "m").context_tokens == 9
    assert loaded(tmp_path / "m", context_tokens=20).context_tokens == 20
    assert loaded(tmp_path / "m", context_tokens=999).context_tokens == POSITIONS


def test_tokens_get_their_marks_once(tmp_path: Path) -> None:
    write_encoder(tmp_path / "m")
    model = loaded(tmp_path / "m")
    assert model.vocabulary == len(WORDS)
    assert model.framed([5]) == model.framed([2, 5, 3]) == [2, 5, 3]


def spoil(folder: Path, what: str) -> None:
    match what:
        case "no tokenizer":
            (folder / "tokenizer.json").unlink()
        case "a bad tokenizer":
            (folder / "tokenizer.json").write_text("{}")
        case "no config":
            (folder / "config.json").unlink()
        case "a bad config":
            (folder / "config.json").write_text("[1")
        case "no weights":
            (folder / "model.safetensors").unlink()
        case "cut weights":
            file = folder / "model.safetensors"
            file.write_bytes(file.read_bytes()[:1000])
        case "other weights":
            save_file({"x": np.zeros(3, np.float32)}, folder / "model.safetensors")
        case "an odd module":
            (folder / "modules.json").write_text(json.dumps([{"type": "x.CNN", "path": ""}]))
        case "another family":
            (folder / "config.json").write_text('{"model_type": "mpnet"}')
        case "no graph":
            (folder / "model.onnx").write_bytes(b"not a graph")


@pytest.mark.parametrize(
    "what",
    ["no tokenizer", "a bad tokenizer", "no config", "a bad config", "no weights", "cut weights",
     "other weights", "an odd module", "another family", "no graph"],
)  # fmt: skip
def test_a_folder_that_is_no_model_is_told_so(what: str, tmp_path: Path) -> None:
    write_encoder(tmp_path / "m")
    spoil(tmp_path / "m", what)
    with pytest.raises(SettingsError):
        loaded(tmp_path / "m")


def test_relative_positions_are_not_taken_for_absolute_ones(tmp_path: Path) -> None:
    write_encoder(tmp_path / "m")
    encoder = Encoder(hidden_size=16, num_attention_heads=4, position_embedding_type="relative_key")
    with pytest.raises(SettingsError, match="ONNX"):
        graph_for(tmp_path / "m" / "model.safetensors", encoder)


def test_a_place_for_graphs_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_encoder(tmp_path / "m")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match="XDG_CACHE_HOME"):
        loaded(tmp_path / "m")
