"""The embedding engine's own program, over its socket: replies, refusals, turns."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.hosted import hosted
from tests.engines.running import RunningEngine
from tests.models.encoder import WIDTH, WORDS, write_encoder


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    folder = tmp_path_factory.mktemp("encoder")
    write_encoder(folder / "m")
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    with hosted("embed", f"--model={folder / 'm'}", "--alias=tiny", environment=environment) as running:
        yield running


def ask(engine: RunningEngine, **body: Any) -> tuple[int, dict[str, Any]]:
    status, data = engine.ask("/v1/embeddings", {"model": "tiny", **body})
    return status, json.loads(data)


def vectors(engine: RunningEngine, **body: Any) -> list[Any]:
    status, reply = ask(engine, **body)
    assert status == 200, reply
    assert [one["index"] for one in reply["data"]] == list(range(len(reply["data"])))
    return [one["embedding"] for one in reply["data"]]


def test_a_reply_has_openais_shape(engine: RunningEngine) -> None:
    status, reply = ask(engine, input=["the cat", "a dog ran"])
    assert status == 200
    assert (reply["object"], reply["model"]) == ("list", "tiny")
    assert reply["usage"] == {"prompt_tokens": 9, "total_tokens": 9}
    assert [one["object"] for one in reply["data"]] == ["embedding"] * 2
    assert [len(one["embedding"]) for one in reply["data"]] == [WIDTH] * 2


def test_every_form_of_input_is_the_same_text(engine: RunningEngine) -> None:
    (expected,) = vectors(engine, input="the cat")
    ids = [WORDS.index("the"), WORDS.index("cat")]
    for form in (["the cat"], ids, [ids], [2, *ids, 3]):
        np.testing.assert_allclose(vectors(engine, input=form), [expected], rtol=1e-5)


def test_base64_holds_the_same_floats(engine: RunningEngine) -> None:
    expected = vectors(engine, input=["the cat", "a dog"])
    packed = vectors(engine, input=["the cat", "a dog"], encoding_format="base64")
    found = [np.frombuffer(base64.b64decode(one), "<f4") for one in packed]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_fewer_dimensions_have_length_one_again(engine: RunningEngine) -> None:
    (whole,) = vectors(engine, input="the cat")
    (cut,) = vectors(engine, input="the cat", dimensions=5)
    np.testing.assert_allclose(cut, np.array(whole[:5]) / np.linalg.norm(whole[:5]), rtol=1e-5)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"input": []}, "input", "empty_array"),
        ({"input": ""}, "input", "empty_string"),
        ({"input": ["the", ""]}, "input[1]", "empty_string"),
        ({"input": [[4], []]}, "input[1]", "empty_array"),
        ({"input": ["the"] * 2049}, "input", "array_above_max_length"),
        ({"input": ["the", 4]}, "input[1]", "invalid_type"),
        ({"input": {}}, "input", "invalid_type"),
        ({"input": "the", "dimensions": WIDTH + 1}, "dimensions", "integer_above_max_value"),
        ({"input": "the", "dimensions": 0}, "dimensions", "integer_below_min_value"),
        ({"input": "the", "encoding_format": "hex"}, "encoding_format", "invalid_value"),
        ({"input": "the " * 30}, "input", "context_length_exceeded"),
        ({"input": [99]}, "input", "invalid_value"),
        ({"input": [[4], [99]]}, "input[1]", "invalid_value"),
        ({"input": [[-1]]}, "input[0][0]", "integer_below_min_value"),
        ({}, "input", "missing_required_parameter"),
    ],
)
def test_what_is_wrong_is_named(engine: RunningEngine, body: dict[str, Any], param: str, code: str) -> None:
    status, reply = ask(engine, **body)
    assert status == 400
    assert (reply["error"]["param"], reply["error"]["code"]) == (param, code)
    assert reply["error"]["type"] == "invalid_request_error"


def test_another_model_is_not_here(engine: RunningEngine) -> None:
    status, reply = ask(engine, model="other", input="the")
    assert (status, reply["error"]["code"]) == (404, "model_not_found")


def test_many_at_once_get_their_own_vectors(engine: RunningEngine) -> None:
    texts = [" ".join(WORDS[4 + (seed + step) % 10] for step in range(1 + seed % 7)) for seed in range(40)]
    alone = [vectors(engine, input=text)[0] for text in texts]
    with ThreadPoolExecutor(8) as threads:
        together = list(
            threads.map(lambda start: vectors(engine, input=texts[start : start + 5]), range(0, 40, 5))
        )
    np.testing.assert_allclose([one for part in together for one in part], alone, rtol=1e-4, atol=1e-5)


def test_a_missing_library_is_told_with_what_installs_it(tmp_path: Path) -> None:
    write_encoder(tmp_path / "m")
    (tmp_path / "onnxruntime.py").write_text("raise ImportError(name='onnxruntime')")
    result = subprocess.run(
        [sys.executable, "-m", "headgate", "engine", "embed", f"--model={tmp_path / 'm'}"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "pip install 'headgate[embed]'" in result.stderr
    assert "Traceback" not in result.stderr
