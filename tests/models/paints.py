"""Two ONNX files with starter-image's contract, written by hand: a prompt is a shade, a source is kept.

The first byte of the prompt is how red the picture gets, the second how green, the third how blue.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

PROMPT_BYTES, WISHES, SIDE = 128, 32, 64


def write_paints(folder: Path) -> Path:
    """Writes the painter and its reader; returns the painter's file."""
    folder.mkdir(parents=True, exist_ok=True)
    hand = folder / "paints.onnx"
    _save(_reader(), folder / "paints-reader.onnx")
    _save(_hand(), hand)
    return hand


def shade(prompt: str, guidance: float = 2.5) -> tuple[int, ...]:
    """The colour that a prompt of three letters gets: against the empty one, which is black."""
    return tuple(min(255, round(guidance * byte)) for byte in prompt.encode()[:3])


def _reader() -> onnx.GraphProto:
    """wishes[:, i] = prompts[:, i] / 127.5 - 1."""
    nodes = [
        helper.make_node("Slice", ["prompts", "zero", "wishes_end", "axis"], ["first"]),
        helper.make_node("Cast", ["first"], ["bytes"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["bytes", "half"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["wishes"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        "zero": np.array([0], np.int64),
        "wishes_end": np.array([WISHES], np.int64),
        "axis": np.array([1], np.int64),
        "half": np.array(127.5, np.float32),
        "one": np.array(1, np.float32),
    }
    return helper.make_graph(
        nodes,
        "reader",
        [helper.make_tensor_value_info("prompts", TensorProto.INT64, ["n", PROMPT_BYTES])],
        [helper.make_tensor_value_info("wishes", TensorProto.FLOAT, ["n", WISHES])],
        _constants(constants),
    )


def _hand() -> onnx.GraphProto:
    """Way = (source + (1 - known) * wish - picture) / (1 - moment): straight to where it ends."""
    nodes = [
        helper.make_node("Slice", ["source", "zero", "three", "axis"], ["colours"]),
        helper.make_node("Slice", ["source", "three", "four", "axis"], ["known"]),
        helper.make_node("Slice", ["wishes", "zero", "three", "axis"], ["wish"]),
        helper.make_node("Unsqueeze", ["wish", "planes"], ["shade"]),
        helper.make_node("Sub", ["one", "known"], ["open"]),
        helper.make_node("Mul", ["open", "shade"], ["painted"]),
        helper.make_node("Add", ["colours", "painted"], ["end"]),
        helper.make_node("Sub", ["end", "picture"], ["far"]),
        helper.make_node("Sub", ["one", "moment"], ["left"]),
        helper.make_node("Unsqueeze", ["left", "cubes"], ["time"]),
        helper.make_node("Div", ["far", "time"], ["way"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        "zero": np.array([0], np.int64),
        "three": np.array([3], np.int64),
        "four": np.array([4], np.int64),
        "axis": np.array([1], np.int64),
        "planes": np.array([2, 3], np.int64),
        "cubes": np.array([1, 2, 3], np.int64),
        "one": np.array(1, np.float32),
    }
    inputs: dict[str, list[str | int]] = {
        "picture": ["n", 3, SIDE, SIDE],
        "source": ["n", 4, SIDE, SIDE],
        "moment": ["n"],
        "wishes": ["n", WISHES],
    }
    return helper.make_graph(
        nodes,
        "hand",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("way", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        _constants(constants),
    )


def _constants(values: dict[str, NDArray[Any]]) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def _save(graph: onnx.GraphProto, path: Path) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
